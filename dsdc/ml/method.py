"""Which kind of model the labels at hand are enough for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

Method = Literal["head", "neighbours", "zero-shot"]

#: Labels a class from which a trained head is better. On 1,600 scanned pages of 16 classes, 400 of them held out,
#: three draws, accuracy of head and of neighbours with 1, 2, 3, 4, 5, 10, 25 labels a class:
#:   head        0.35  0.48  0.55  0.57  0.61  0.67  0.73
#:   neighbours  0.46  0.53  0.56  0.58  0.60  0.64  0.66
HEAD_FROM = 5


@dataclass(frozen=True)
class Choice:
    """A method, and why, in a sentence for people."""

    method: Method
    reason: str


def choose_method(counts: Mapping[str, int], *, min_per_class: int = 2, folds: int = 2) -> Choice:
    """The method for so many labelled documents, duplicates counted once, of each class of the taxonomy.

    A head is trained once half of the labelled classes have `HEAD_FROM` documents, and at least two classes
    `min_per_class`, without which it leaves a class out; and once there are documents enough for its folds.
    """
    labelled = {slug: n for slug, n in counts.items() if n > 0}
    if not labelled:
        return Choice("zero-shot", "No document has a label: documents are compared with the names of the classes.")
    usual, kept = median(labelled.values()), [n for n in labelled.values() if n >= min_per_class]
    known = f"{sum(labelled.values())} different documents of {len(labelled)} of {len(counts)} classes have a label"
    if usual >= HEAD_FROM and len(kept) > 1 and sum(kept) >= folds:
        return Choice("head", f"{known}, {usual:g} a class (median): enough to train a head.")
    return Choice(
        "neighbours",
        f"{known}, {usual:g} a class (median): documents are compared with them and with the names of the classes;"
        f" a head is trained from {HEAD_FROM} a class on.",
    )

"""Two models on the same documents, in numbers: what each is worth, how sure the difference is, and which answers flip.

Both are asked as if each document were new to them: by held-out answers where a model has learnt from the document, by
its answers of today where it has not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from dsdc.ml.calibrate import Doubles
from dsdc.ml.evaluate import (
    Accuracy,
    CorrectnessAuroc,
    ExpectedCalibrationError,
    Metric,
    NegativeLogLikelihood,
    Scored,
    bootstrap,
)
from dsdc.ml.features import Bools, Ints
from dsdc.ml.heldout import HeldOut

ROUNDS = 2000
#: A probability counts as no less than this, so that a few answers of zero do not decide about all documents.
_LEAST_PROBABILITY = 1e-4


@dataclass(frozen=True)
class Champion:
    """What the champion says to n documents of a challenger, in its own `classes`.

    `live` `[n, classes]` are its answers of today, in the challenger's order of documents, None where it cannot be
    asked any more; `learnt` its held-out answers to those that it has learnt from, None where it has learnt from none
    (zero-shot).
    """

    classes: tuple[str, ...]
    live: Doubles | None
    learnt: HeldOut | None = None


@dataclass(frozen=True)
class Both:
    """n documents with their right classes `[n]`, and both models' probabilities `[n, classes]`.

    A model's column is 0 where it does not know the class; `shared` `[n]` says whether both know the right one.
    Duplicates have one number in `groups` `[n]`.
    """

    classes: tuple[str, ...]
    labels: Ints
    groups: Ints
    champion: Doubles
    challenger: Doubles
    shared: Bools

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Ints) -> Self:
        """The documents at these rows."""
        return replace(
            self,
            labels=self.labels[rows],
            groups=self.groups[rows],
            champion=self.champion[rows],
            challenger=self.challenger[rows],
            shared=self.shared[rows],
        )

    def scored(self) -> tuple[Scored, Scored]:
        """Champion and challenger, for the metrics; nobody made prediction sets."""
        no_sets = np.zeros(self.champion.shape, dtype=bool)
        old, new = (
            Scored(self.classes, self.labels, np.maximum(answers, _LEAST_PROBABILITY), no_sets)
            for answers in (self.champion, self.challenger)
        )
        return old, new


@dataclass(frozen=True)
class Aligned:
    """Which of the challenger's documents both can be asked about fairly (`rows`), and what they say there."""

    rows: Ints
    both: Both


@dataclass(frozen=True)
class Difference:
    """One metric of both models; `low` to `high` is the 95 % interval of challenger minus champion, NaN without one."""

    champion: float
    challenger: float
    low: float = math.nan
    high: float = math.nan

    @property
    def gain(self) -> float:
        """Challenger minus champion."""
        return self.challenger - self.champion


@dataclass(frozen=True)
class ClassChange:
    """Share of a class's documents that each model gets right; `champion` is NaN where it does not know the class."""

    label: str
    documents: int
    champion: float
    challenger: float


@dataclass(frozen=True)
class Flip:
    """Documents of one class whose answer changed from one class to another, one of them right."""

    label: str
    champion: str
    challenger: str
    documents: int

    @property
    def to_right(self) -> bool:
        return self.challenger == self.label


@dataclass(frozen=True)
class Comparison:
    """All of it. `nll` and `ece` are of the documents whose class both know, None where there are none."""

    documents: int
    groups: int
    accuracy: Difference
    auroc: Difference
    nll: Difference | None
    ece: Difference | None
    classes: tuple[ClassChange, ...]
    flips: tuple[Flip, ...]
    changed: int

    @property
    def flips_to_right(self) -> int:
        return sum(flip.documents for flip in self.flips if flip.to_right)

    @property
    def flips_to_wrong(self) -> int:
        return sum(flip.documents for flip in self.flips if not flip.to_right)

    def as_dict(self) -> dict[str, Any]:
        """Flat, finite numbers."""
        found: dict[str, Any] = {"documents": self.documents, "groups": self.groups, "flips": self.changed}
        found |= {"flips_to_right": self.flips_to_right, "flips_to_wrong": self.flips_to_wrong}
        for name in ("accuracy", "nll", "ece", "auroc"):
            difference: Difference | None = getattr(self, name)
            if difference is not None:
                found |= {f"champion_{name}": difference.champion, f"challenger_{name}": difference.challenger}
                found |= {f"{name}_gain_low": difference.low, f"{name}_gain_high": difference.high}
        return {key: value for key, value in found.items() if math.isfinite(value)}


def align(challenger: HeldOut, champion: Champion, groups: Ints) -> Aligned:
    """Both models' answers to the challenger's documents, as if new to both.

    Left out are documents that the champion has not learnt from, but from a duplicate of them: its answer of today
    would flatter it. Where it cannot be asked today, all are left out that it has not learnt from.

    Args:
        groups: `[n]` group numbers of the challenger's documents; duplicates share one.

    Raises:
        ValueError: when the champion was not asked about all of the challenger's documents.
    """
    expected = len(challenger.document_ids), len(champion.classes)
    live = np.zeros(expected) if champion.live is None else champion.live
    if live.shape != expected:
        raise ValueError(f"{len(challenger.document_ids)} documents, but live answers {live.shape}")
    classes = (*challenger.classes, *(slug for slug in champion.classes if slug not in challenger.classes))
    old = _in_classes(live, champion.classes, classes)
    learnt = np.zeros(len(old), dtype=bool)
    if champion.learnt is not None:
        held_out = _in_classes(champion.learnt.probabilities, champion.learnt.classes, classes)
        at = {document_id: row for row, document_id in enumerate(champion.learnt.document_ids)}
        found = np.array([at.get(document_id, -1) for document_id in challenger.document_ids], dtype=np.int64)
        learnt = found >= 0
        old[learnt] = held_out[found[learnt]]
    fair = learnt if champion.live is None else learnt | ~np.isin(groups, groups[learnt])
    rows = np.flatnonzero(fair)
    shared = np.isin(np.array(challenger.classes), np.array(champion.classes))[challenger.labels]
    new = _in_classes(challenger.probabilities, challenger.classes, classes)
    return Aligned(rows, Both(classes, challenger.labels, groups, old, new, shared).take(rows))


def _in_classes(probabilities: Doubles, given: Sequence[str], wanted: Sequence[str]) -> Doubles:
    """The columns in another order, zeros for classes that were not given."""
    found = np.zeros((len(probabilities), len(wanted)))
    for column, slug in enumerate(wanted):
        if slug in given:
            found[:, column] = probabilities[:, given.index(slug)]
    return found


def compare(both: Both, *, seed: int, rounds: int = ROUNDS) -> Comparison:
    """The numbers of at least one document; intervals by paired bootstrap over whole groups of duplicates.

    Raises:
        ValueError: when there is no document.
    """
    if not len(both):
        raise ValueError("there are no documents to compare on")
    accuracy, nll = _intervals(both, seed, rounds)
    known = both.take(np.flatnonzero(both.shared))
    return Comparison(
        documents=len(both),
        groups=len(np.unique(both.groups)),
        accuracy=_difference(Accuracy(), both, accuracy),
        auroc=_difference(CorrectnessAuroc(), both),
        nll=_difference(NegativeLogLikelihood(), known, nll) if len(known) else None,
        ece=_difference(ExpectedCalibrationError(), known) if len(known) else None,
        classes=tuple(_classes(both)),
        flips=tuple(_flips(both)),
        changed=int((both.champion.argmax(axis=1) != both.challenger.argmax(axis=1)).sum()),
    )


def _difference(metric: Metric, both: Both, interval: tuple[float, float] = (math.nan, math.nan)) -> Difference:
    old, new = both.scored()
    return Difference(metric(old), metric(new), *interval)


def _intervals(both: Both, seed: int, rounds: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of the change in accuracy, and of the change in NLL on the documents whose class both know.

    Both are means over documents, so that sums over a group are all that a draw needs of it.
    """
    old, new = both.scored()
    at = np.arange(len(both))
    loss = np.log(old.probabilities[at, both.labels]) - np.log(new.probabilities[at, both.labels])
    columns = (new.correct.astype(float) - old.correct, np.ones(len(both)), loss * both.shared, both.shared)
    group = np.unique(both.groups, return_inverse=True)[1]
    sums = np.stack([np.bincount(group, weights=column) for column in columns], axis=1)
    drawn = np.array([sums[rows].sum(axis=0) for rows in bootstrap(len(sums), resamples=rounds, seed=seed)])
    return _middle(drawn[:, 0], drawn[:, 1]), _middle(drawn[:, 2], drawn[:, 3])


def _middle(sums: Doubles, counts: Doubles) -> tuple[float, float]:
    """The middle 95 % of the means; draws without a document do not count."""
    means = sums[counts > 0] / counts[counts > 0]
    if not len(means):
        return math.nan, math.nan
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _classes(both: Both) -> list[ClassChange]:
    old, new = both.scored()
    found = []
    for index in np.unique(both.labels):
        rows = both.labels == index
        known = bool(both.shared[rows].all())
        before = float(old.correct[rows].mean()) if known else math.nan
        found.append(ClassChange(both.classes[index], int(rows.sum()), before, float(new.correct[rows].mean())))
    return found


def _flips(both: Both) -> list[Flip]:
    """By right class and both answers, most documents first."""
    old, new = both.champion.argmax(axis=1), both.challenger.argmax(axis=1)
    rows = np.flatnonzero((old == both.labels) != (new == both.labels))
    counts = Counter((int(both.labels[row]), int(old[row]), int(new[row])) for row in rows)
    return [
        Flip(both.classes[right], both.classes[was], both.classes[now], documents)
        for (right, was, now), documents in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]

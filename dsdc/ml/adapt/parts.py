"""Which pairs are learnt from, which stop the training, and which measure what it was worth."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsdc.db.repositories.pairs import PairRow
from dsdc.errors import ModelError
from dsdc.ml.adapt.params import AdaptParams
from dsdc.ml.features import Floats, Ints
from dsdc.ml.split import duplicate_groups

#: Fewer measure nothing: a tenth of them is held out.
LEAST_PAIRS = 50
LEAST_DOCUMENTS = 10
#: Pages are scans of one original where the mean of their images' and their texts' cosines is more than this. Either
#: alone says less: a form that is filled in differently looks the same.
DUPLICATE_COSINE = 0.995
_MORE = "Put more documents into data/to_ingest and run `dsdc ingest` and `dsdc process`."


@dataclass(frozen=True)
class Parts:
    """Row numbers, ascending; each is in one part at most."""

    train: Ints
    valid: Ints
    test: Ints

    def by_name(self) -> dict[str, Ints]:
        return {"train": self.train, "valid": self.valid, "test": self.test}


def require(pairs: int) -> None:
    """Raise ModelError where there are too few pairs."""
    if pairs < LEAST_PAIRS:
        raise ModelError(
            f"There are {pairs} different pages with text; adapting a CLIP takes at least {LEAST_PAIRS}.", hint=_MORE
        )


def part(rows: Sequence[PairRow], images: Floats, texts: Floats, params: AdaptParams) -> Parts:
    """Split by document, so that no document is in two parts; of nearly equal pages one row is in a part at all.

    Args:
        images: `[n, width]`, the rows' image vectors by the model as it is, each of length 1.
        texts: the same of their texts.

    Raises:
        ModelError: when there are too few pairs or documents.
    """
    same = duplicate_groups(embeddings=np.concatenate([images, texts], axis=1), min_cosine=DUPLICATE_COSINE)
    kept = np.unique(same, return_index=True)[1]
    require(len(kept))
    pages = Counter(rows[row].document_id for row in kept)
    if len(pages) < LEAST_DOCUMENTS:
        raise ModelError(
            f"The pages are of {len(pages)} documents; at least {LEAST_DOCUMENTS} are needed, to hold some out.",
            hint=_MORE,
        )
    name_of = _assign(pages, params)
    names = np.array([name_of[rows[row].document_id] for row in kept])
    return Parts(*(np.sort(kept[names == name]) for name in ("train", "valid", "test")))


def _assign(pages: Counter[str], params: AdaptParams) -> dict[str, str]:
    """Document -> part, in an order that hangs on seed and document alone: most stay where they were as others come.

    Both held-out parts are filled up to the share of pages that they shall have, with one document at least.
    """
    order = sorted(pages, key=lambda document: hashlib.sha256(f"{params.seed} {document}".encode()).digest())
    wanted = params.held_out * pages.total()
    parts, filled = {}, {"test": 0, "valid": 0}
    for document in order:
        name = next((name for name, number in filled.items() if number < wanted), "train")
        parts[document] = name
        if name != "train":
            filled[name] += pages[document]
    return parts


def summary(rows: Sequence[PairRow], parts: Parts) -> dict[str, Any]:
    """Counts, and a hash over the pages' bytes, their texts and the parts they are in; no row number is in it."""
    part_of = {int(row): name for name, numbers in parts.by_name().items() for row in numbers}
    lines = sorted(f"{rows[row].image_sha256} {rows[row].text_sha256} {name}" for row, name in part_of.items())
    return {
        "pairs": len(part_of),
        "documents": len({rows[row].document_id for row in part_of}),
        "near_duplicates_left_out": len(rows) - len(part_of),
        **{name: len(numbers) for name, numbers in parts.by_name().items()},
        "sha256": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }

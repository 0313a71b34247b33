"""The read pages of documents -> one block a describer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from dsdc.ml.features import Block
from dsdc.processors.describe import CountDescriber, Describer, ReadPage, VectorDescriber


def describe(describers: Sequence[Describer], documents: Sequence[Sequence[ReadPage]]) -> dict[str, Block]:
    """Blocks of n documents by modality; one that has no read page, or no n-gram, is missing in a block."""
    return {describer.modality: _block(describer, documents) for describer in describers}


def _block(describer: Describer, documents: Sequence[Sequence[ReadPage]]) -> Block:
    if isinstance(describer, VectorDescriber):
        return _vectors(describer, documents)
    if isinstance(describer, CountDescriber):
        return _counts(describer, documents)
    raise TypeError(f"{describer.name} is neither a describer of vectors nor of counts")


def _vectors(describer: VectorDescriber, documents: Sequence[Sequence[ReadPage]]) -> Block:
    values = np.zeros((len(documents), describer.width), dtype=np.float32)
    for row, pages in enumerate(documents):
        if pages:
            values[row] = describer.describe(pages)
    return Block(values, np.array([bool(pages) for pages in documents], dtype=bool))


def _counts(describer: CountDescriber, documents: Sequence[Sequence[ReadPage]]) -> Block:
    found = [describer.count(pages) for pages in documents]
    starts = np.cumsum([0, *map(len, found)])
    columns = np.fromiter((column for counts in found for column in counts), dtype=np.int32, count=starts[-1])
    times = np.fromiter((n for counts in found for n in counts.values()), dtype=np.float32, count=starts[-1])
    values = csr_array((times, columns, starts.astype(np.int32)), shape=(len(documents), describer.width))
    return Block(values, np.diff(starts) > 0)

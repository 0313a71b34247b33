"""Folds that no duplicate crosses; and which documents are duplicates."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from dsdc.errors import NotEnoughLabels
from dsdc.ml.features import Floats, Ints

#: Pairs are compared in blocks of this many rows, so that memory stays at some tens of MiB.
_ROWS_AT_ONCE = 512
#: A difference hash with fewer bits set (or clear) is of a nearly blank page, and says nothing about sameness.
_LEAST_BITS = 8


@dataclass(frozen=True)
class Fold:
    """Row numbers of a DocumentSet, ascending: those that are held out together, and all others."""

    train: Ints
    test: Ints


def make_folds(labels: Ints, groups: Ints, *, folds: int, seed: int) -> list[Fold]:
    """Grouped, stratified K-fold: each row is held out once, and a group is never parted.

    Where no class has as many documents as there are folds, nothing can be stratified, and groups are dealt out evenly.

    Args:
        labels: `[n]` class indices.
        groups: `[n]` group numbers; duplicates share one.

    Raises:
        NotEnoughLabels: when there are fewer groups than folds.
    """
    found = len(np.unique(groups))
    if found < folds:
        raise NotEnoughLabels(
            f"{found} different labelled documents cannot make {folds} folds.",
            hint="Label more documents, or lower train.folds.",
        )
    kind = StratifiedGroupKFold if np.bincount(labels).max() >= folds else GroupKFold
    cutter = kind(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A class of fewer documents than folds is missing from some; that is said elsewhere, and no error.
        warnings.simplefilter("ignore", UserWarning)
        return [Fold(train, test) for train, test in cutter.split(np.zeros(len(labels)), labels, groups)]


def duplicate_groups(
    *,
    sha256: Sequence[str] | None = None,
    perceptual: Sequence[int | None] | None = None,
    embeddings: Floats | None = None,
    max_hamming: int = 2,
    min_cosine: float = 0.995,
) -> Ints:
    """Group numbers `[n]` of documents that are the same by any one of the three evidences, chains included.

    All pairs are compared, which takes seconds for 20,000 documents and grows with the square of their number.

    Args:
        sha256: of each document's bytes.
        perceptual: 64-bit difference hash of each document (signed or unsigned), None where there is none. Hashes of
            nearly blank pages are left out, for all blank pages would be one another's duplicates.
        embeddings: `[n, width]`; zero rows are left out.
        max_hamming: most differing bits between two hashes of the same page.
        min_cosine: similarity above which two documents are taken for the same. Chains of similar pages grow fast
            below the default.

    Raises:
        ValueError: when nothing is given, or lengths differ.
    """
    given = [column for column in (sha256, perceptual, embeddings) if column is not None]
    if not given or len({len(column) for column in given}) != 1:
        raise ValueError("give at least one of sha256, perceptual and embeddings, of one length")
    pairs: list[npt.NDArray[np.int64]] = [np.empty((0, 2), dtype=np.int64)]
    if sha256 is not None:
        pairs.append(_equal_pairs(sha256))
    if perceptual is not None:
        pairs.extend(_near_hashes(perceptual, max_hamming))
    if embeddings is not None:
        pairs.extend(_near_vectors(embeddings, min_cosine))
    return _components(len(given[0]), np.concatenate(pairs))


def _equal_pairs(keys: Sequence[str]) -> npt.NDArray[np.int64]:
    first: dict[str, int] = {}
    pairs = [(first.setdefault(key, row), row) for row, key in enumerate(keys)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _near_hashes(hashes: Sequence[int | None], max_hamming: int) -> Iterator[npt.NDArray[np.int64]]:
    rows = np.array([row for row, value in enumerate(hashes) if value is not None], dtype=np.int64)
    # A 64-bit column of a database is signed; the mask makes the bits comparable again.
    bits = np.array([value & (2**64 - 1) for value in hashes if value is not None], dtype=np.uint64)
    ones = np.bitwise_count(bits)
    telling = (ones >= _LEAST_BITS) & (ones <= 64 - _LEAST_BITS)
    rows, bits = rows[telling], bits[telling]
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        distance = np.bitwise_count(bits[start : start + _ROWS_AT_ONCE, None] ^ bits[None, start:])
        yield _pairs(distance <= max_hamming, rows, start)


def _near_vectors(vectors: Floats, min_cosine: float) -> Iterator[npt.NDArray[np.int64]]:
    lengths = np.linalg.norm(vectors, axis=1)
    rows = np.flatnonzero(lengths > 0)
    unit = (vectors[rows] / lengths[rows, None]).astype(np.float32)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        cosine = unit[start : start + _ROWS_AT_ONCE] @ unit[start:].T
        yield _pairs(cosine > min_cosine, rows, start)


def _pairs(close: npt.NDArray[np.bool_], rows: Ints, start: int) -> npt.NDArray[np.int64]:
    left, right = np.nonzero(close)
    return np.stack([rows[left + start], rows[right + start]], axis=1)


def _components(n: int, pairs: npt.NDArray[np.int64]) -> Ints:
    graph = coo_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)

"""What the model sees: one row a document, one block of numbers a modality, and a mask for what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Below this length a pooled vector is opposite pages cancelling each other out, not a direction.
_SHORTEST = 1e-6


@dataclass(frozen=True)
class Block:
    """One modality of n documents: `values` is `[n, width]`, zero where `present` `[n]` is False.

    Counts of many thousand kinds, nearly all zero (n-grams), come as a sparse array.
    """

    values: Floats | csr_array
    present: Bools

    @property
    def width(self) -> int:
        return int(self.values.shape[1])

    @property
    def sparse(self) -> bool:
        return isinstance(self.values, csr_array)

    @property
    def first(self) -> Floats | None:
        """The first document's numbers, `[width]`; None where it has none."""
        return np.asarray(self.values)[0] if self.present[0] else None

    def __getitem__(self, rows: Ints) -> Block:
        return Block(self.values[rows], self.present[rows])

    def without(self) -> Block:
        """The same documents, the modality missing in all of them."""
        empty = csr_array(self.values.shape, dtype=np.float32) if self.sparse else np.zeros_like(self.values)
        return Block(empty, np.zeros_like(self.present))


@dataclass(frozen=True)
class DocumentSet:
    """Labelled documents as arrays of n rows; keep the rows in one order (by document id), for splits depend on it.

    `labels` index into `classes`. `image` `[n, image width]` and `text` `[n, text width]` are pooled page vectors
    (`pool_pages`), all zero where `has_image` or `has_text` is False; a width may be 0. Documents with one number in
    `groups` are duplicates of each other and never part. `extra` holds further modalities by name.

    Raises:
        ValueError: when shapes disagree, labels are out of range, or a value is not finite.
    """

    document_ids: tuple[str, ...]
    labels: Ints
    classes: tuple[str, ...]
    image: Floats
    text: Floats
    has_image: Bools
    has_text: Bools
    groups: Ints
    extra: Mapping[str, Block] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = (self.labels, self.groups, *(part for b in self.blocks().values() for part in (b.values, b.present)))
        if any(column.shape[0] != len(self.document_ids) for column in columns):
            raise ValueError(f"{len(self.document_ids)} documents, but columns of {[c.shape[0] for c in columns]} rows")
        if len(self) and not 0 <= self.labels.min() <= self.labels.max() < len(self.classes):
            raise ValueError(f"labels must be from 0 to {len(self.classes) - 1}")
        for name, block in self.blocks().items():
            if block.values.ndim != 2 or not _finite(block.values):
                raise ValueError(f"{name} must be finite numbers in the shape [documents, width]")

    def __len__(self) -> int:
        return len(self.document_ids)

    def blocks(self) -> dict[str, Block]:
        """Every modality by name, in the order in which the head reads them."""
        fixed = {"image": Block(self.image, self.has_image), "text": Block(self.text, self.has_text)}
        return fixed | dict(self.extra)

    def take(self, rows: Ints) -> DocumentSet:
        """The documents at these rows, in this order."""
        return DocumentSet(
            document_ids=tuple(self.document_ids[row] for row in rows),
            labels=self.labels[rows],
            classes=self.classes,
            image=self.image[rows],
            text=self.text[rows],
            has_image=self.has_image[rows],
            has_text=self.has_text[rows],
            groups=self.groups[rows],
            extra={name: block[rows] for name, block in self.extra.items()},
        )

    def counts(self) -> dict[str, int]:
        """Documents of each class, by slug, in the order of the classes."""
        found = np.bincount(self.labels, minlength=len(self.classes))
        return {slug: int(n) for slug, n in zip(self.classes, found, strict=True)}

    def originals(self) -> dict[str, int]:
        """As `counts`, with duplicates counted once."""
        pairs = np.unique(np.stack([self.labels, self.groups]), axis=1)
        found = np.bincount(pairs[0], minlength=len(self.classes))
        return {slug: int(n) for slug, n in zip(self.classes, found, strict=True)}


def _finite(values: Floats | csr_array) -> bool:
    return bool(np.isfinite(values.data if isinstance(values, csr_array) else values).all())


def pool_pages(vectors_per_document: Sequence[Floats], width: int | None = None) -> Block:
    """Mean of a document's L2-normalised page vectors, normalised again, so that every page counts alike.

    Args:
        vectors_per_document: for each document `[pages, width]`; no pages (or only zero vectors) means missing.
        width: needed where no document has any page; else read from the vectors.

    Raises:
        ValueError: when widths differ, or none is known.
    """
    width = _width(vectors_per_document) if width is None else width
    values = np.zeros((len(vectors_per_document), width), dtype=np.float32)
    present = np.zeros(len(vectors_per_document), dtype=bool)
    for row, pages in enumerate(vectors_per_document):
        pooled = _pool(pages, width)
        if pooled is not None:
            values[row], present[row] = pooled, True
    return Block(values, present)


def _width(vectors_per_document: Sequence[Floats]) -> int:
    for pages in vectors_per_document:
        if len(pages):
            return int(pages.shape[1])
    raise ValueError("no document has a page, so that the width has to be given")


def _pool(pages: Floats, width: int) -> Floats | None:
    if not len(pages):
        return None
    if pages.shape[1] != width:
        raise ValueError(f"page vectors of widths {width} and {pages.shape[1]}: they are of two models")
    directions = list(_directions(pages))
    if not directions:
        return None
    mean = np.mean(directions, axis=0)
    length = float(np.linalg.norm(mean))
    return (mean / length).astype(np.float32) if length > _SHORTEST else None


def _directions(pages: Floats) -> Iterator[Floats]:
    for page in np.asarray(pages, dtype=np.float64):
        length = float(np.linalg.norm(page))
        if length > _SHORTEST:
            yield page / length

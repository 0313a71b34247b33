"""What a processor is, and what each stage's processor takes and returns.

A processor promises:

* the same input and parameters give the same output, so that `(name, version, params_hash)` says what made a row;
* whoever changes what comes out raises `version` in the class, and nobody types a version anywhere else;
* it raises a `dsdc.errors.DocumentError` where the document is at fault, and never returns an empty result for "broke";
* it touches no database and no network.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from dsdc.errors import DocumentError

Extraction = Literal["ocr", "text-layer"]
Vectors = npt.NDArray[np.float32]


class Processor(ABC):
    """Base of all processors."""

    stage: ClassVar[str]
    name: ClassVar[str]
    version: ClassVar[str]

    @property
    @abstractmethod
    def params(self) -> Mapping[str, Any]:
        """Everything besides the code that decides the output: JSON values, engine versions and weights' hashes."""

    @property
    def params_hash(self) -> str:
        """SHA-256 over the canonical JSON of `params`, in hexadecimal."""
        text = json.dumps(self.params, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Attachment:
    """A file within a file; `name` is what its sender called it."""

    name: str
    data: bytes


class Unpacker(Processor):
    stage = "unpack"

    @abstractmethod
    def attachments(self, source: Path, media_type: str) -> Iterator[Attachment]:
        """The files within a document, in their order, one at a time."""


@dataclass(frozen=True)
class EncodedPage:
    """One page as the bytes of an image file: `page` counts from 1; `mode` is 1, L or RGB; `dpi` where it is known.

    `dhash` is the signed 64-bit difference hash of its pixels, None where a renderer gives none.
    """

    page: int
    data: bytes
    width: int
    height: int
    mode: str
    dpi: int | None = None
    dhash: int | None = None


@dataclass(frozen=True)
class DamagedPage:
    """A page that cannot be had, of a document whose other pages may well be fine."""

    page: int
    error: DocumentError


class Renderer(Processor):
    stage = "render"

    @abstractmethod
    def page_count(self, source: Path, media_type: str) -> int:
        """Number of pages, read without decoding them. Raises DocumentError where there are none to be had."""

    @abstractmethod
    def pages(self, source: Path, media_type: str, *, first: int = 1) -> Iterator[EncodedPage | DamagedPage]:
        """The pages from `first` on, in order, one at a time, so that memory does not grow with their number.

        Raises:
            DocumentError: the document as a whole cannot be read, or no further page of it.
        """


@dataclass(frozen=True)
class Word:
    """A recognised word: box in pixels of the page image (left, top, width, height), confidence from 0 to 1."""

    text: str
    left: int
    top: int
    width: int
    height: int
    confidence: float


@dataclass(frozen=True)
class PageSource:
    """What a text reader may look at: the document's own bytes, and the page's rendered image."""

    document: Path
    media_type: str
    page: int
    image: Path


@dataclass(frozen=True)
class PageText:
    """Text of a page as it was read. `confidence` is the mean over words, 0 to 1; None where there are no words."""

    text: str
    extraction: Extraction
    confidence: float | None
    words: tuple[Word, ...] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)


class TextReader(Processor):
    stage = "text"

    @abstractmethod
    def read(self, pages: Sequence[PageSource]) -> Iterator[PageText | Exception]:
        """One result for each page, in the order given; an error in place of a result concerns that page alone."""


@dataclass(frozen=True)
class CleanedText:
    """Text made ready for embedding; `changes` counts what was done, by kind."""

    text: str
    changes: Mapping[str, int] = field(default_factory=dict)


class Cleaner(Processor):
    stage = "clean"

    @abstractmethod
    def clean(self, text: str) -> CleanedText:
        """Never fails on any string; empty in, empty out."""


class Embedder(Processor):
    stage = "embed"

    @property
    @abstractmethod
    def width(self) -> int:
        """Length of a vector, read from the model."""

    @property
    @abstractmethod
    def weights_sha256(self) -> str:
        """SHA-256 of the weights file, in hexadecimal."""

    @property
    def aligned(self) -> bool:
        """Whether the similarity of an image to a text means something: its two towers were trained together."""
        return True

    @abstractmethod
    def images(self, images: Sequence[Image.Image]) -> Vectors:
        """`[n, width]`, each row of length 1."""

    @abstractmethod
    def texts(self, texts: Sequence[str]) -> Vectors:
        """`[n, width]`, each row of length 1; a text longer than the context is embedded in windows and pooled.

        An empty text has no embedding: callers leave it out.
        """

"""Processors that keep the contract without an engine: pages are lines of a text file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from dsdc.errors import CorruptFile
from dsdc.processors.contract import (
    Attachment,
    CleanedText,
    Cleaner,
    DamagedPage,
    Embedder,
    EncodedPage,
    PageSource,
    PageText,
    Renderer,
    TextReader,
    Unpacker,
    Vectors,
)
from dsdc.processors.render import encode


class NothingInside(Unpacker):
    name: ClassVar[str] = "nothing"
    version: ClassVar[str] = "1"
    params: Mapping[str, Any] = {}  # type: ignore[assignment]

    def attachments(self, source: Path, media_type: str) -> Iterator[Attachment]:
        return iter(())


class LineRenderer(Renderer):
    """One page a line; a line `corrupt` cannot be read, nor anything after `cut`; a line `crash` is nobody's fault."""

    name: ClassVar[str] = "lines"
    version: ClassVar[str] = "1"
    params: Mapping[str, Any] = {}  # type: ignore[assignment]

    def page_count(self, source: Path, media_type: str) -> int:
        return len(source.read_text().splitlines())

    def pages(self, source: Path, media_type: str, *, first: int = 1) -> Iterator[EncodedPage | DamagedPage]:
        for number, line in enumerate(source.read_text().splitlines(), start=1):
            if number < first:
                continue
            if line == "cut":
                raise CorruptFile("The file ends here.")
            if line == "crash":
                raise OSError("the disk hiccuped")
            if line == "corrupt":
                yield DamagedPage(number, CorruptFile(f"Page {number} is damaged."))
                continue
            image = Image.new("L", (10 + number, 20), sum(line.encode()) % 256)
            yield EncodedPage(number, encode(image), *image.size, image.mode)


class WidthReader(TextReader):
    """Reads the image's width."""

    name: ClassVar[str] = "widths"
    version: ClassVar[str] = "1"
    params: Mapping[str, Any] = {}  # type: ignore[assignment]

    def read(self, pages: Sequence[PageSource]) -> Iterator[PageText | Exception]:
        for page in pages:
            with Image.open(page.image) as image:
                yield PageText("" if page.page == 2 else f"wide {image.width}", "ocr", 0.5)


class SameCleaner(Cleaner):
    name: ClassVar[str] = "same"
    version: ClassVar[str] = "1"
    params: Mapping[str, Any] = {}  # type: ignore[assignment]

    def clean(self, text: str) -> CleanedText:
        return CleanedText(text)


class SmallEmbedder(Embedder):
    """Four numbers a vector; an image 13 px wide gets one that no store may take."""

    name: ClassVar[str] = "small"
    version: ClassVar[str] = "1"
    params: Mapping[str, Any] = {"model": "small"}  # type: ignore[assignment]
    width = 4  # type: ignore[assignment]
    weights_sha256 = "0" * 64  # type: ignore[assignment]

    def images(self, images: Sequence[Image.Image]) -> Vectors:
        return np.stack([self._vector(image.width) for image in images])

    def texts(self, texts: Sequence[str]) -> Vectors:
        return np.stack([self._vector(len(text)) for text in texts])

    @staticmethod
    def _vector(seed: int) -> Vectors:
        if seed == 13:
            return np.full(4, np.nan, dtype=np.float32)
        vector = np.random.default_rng(seed).normal(size=4)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

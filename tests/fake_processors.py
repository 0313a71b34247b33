"""Processors that keep the contract without an engine: pages are lines of a text file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from dsdc.errors import CorruptFile
from dsdc.processors.contract import (
    CleanedText,
    Cleaner,
    Embedder,
    PageSource,
    PageText,
    RenderedPage,
    Renderer,
    TextReader,
    Vectors,
)


class LineRenderer(Renderer):
    """One page a line; a line `corrupt` cannot be read, a line `crash` is nobody's fault."""

    name: ClassVar[str] = "lines"
    version: ClassVar[str] = "1"
    params: Mapping[str, Any] = {}  # type: ignore[assignment]

    def page_count(self, source: Path, media_type: str) -> int:
        return len(source.read_text().splitlines())

    def pages(self, source: Path, media_type: str, *, first: int = 1) -> Iterator[RenderedPage]:
        for number, line in enumerate(source.read_text().splitlines(), start=1):
            if line == "corrupt":
                raise CorruptFile(f"Page {number} is damaged.")
            if line == "crash":
                raise OSError("the disk hiccuped")
            if number >= first:
                yield RenderedPage(number, Image.new("L", (10 + number, 20), hash(line) % 256))


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

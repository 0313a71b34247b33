"""Text of pages: the PDF's own where it is good, else what an engine recognises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import pypdfium2
from PIL import Image

from dsdc.errors import BytesMissing, DocumentError, StorageError
from dsdc.processors import media_type as types
from dsdc.processors.contract import PageSource, PageText, TextReader
from dsdc.processors.mail.body import lost_characters
from dsdc.processors.ocr.engine import Engine
from dsdc.processors.ocr.engines import choose_engine
from dsdc.processors.ocr.layer import Layers, why_bad
from dsdc.processors.ocr.recognise import recognise, recognition_params
from dsdc.settings import Ocr


class PageReader(TextReader):
    """Decides page by page; `notes["layer"]` says what became of a PDF's text layer, and why."""

    name: ClassVar[str] = "page-reader"
    version: ClassVar[str] = "3"

    def __init__(self, config: Ocr, engine: Engine | None = None) -> None:
        """`engine` is the one of the settings unless one is given."""
        self._config = config
        self._given = engine
        self._layers = Layers()

    @cached_property
    def _engine(self) -> Engine:
        return self._given or choose_engine(self._config)

    def warm_up(self) -> None:
        """Load the engine and its language data now.

        Raises:
            MissingSystemPackage: when the engine or its language data is missing.
        """
        self._engine.recognise(Image.new("L", (64, 64), 255), 300, 1.0)

    @property
    def params(self) -> Mapping[str, Any]:
        """What decides the text, engine and language data among it.

        Raises:
            MissingSystemPackage: no language data on this machine.
        """
        return {
            **self._engine.params,
            **recognition_params(self._config, self._engine),
            "min_layer_chars": self._config.min_layer_chars,
            "min_layer_printable": self._config.min_layer_printable,
            "pdfium": str(pypdfium2.version.PDFIUM_INFO),
        }

    def read(self, pages: Sequence[PageSource]) -> Iterator[PageText | Exception]:
        """One page after the other.

        Raises:
            MissingSystemPackage: when the engine or its language data is missing.
        """
        for page in pages:
            try:
                yield self.read_page(page)
            except (DocumentError, StorageError) as error:
                yield error

    def read_page(self, page: PageSource) -> PageText:
        """The page's own text where it is good, else what is recognised.

        Raises:
            DocumentError: not read in time, or refused by the engine. StorageError: the image is gone.
            MissingSystemPackage: when the engine or its language data is missing.
        """
        try:
            text, reason = self._from_layer(page)
            if text is not None:
                return text
            found = recognise(page.image, self._engine, self._config)
        except FileNotFoundError as error:
            raise BytesMissing(
                f"{error.filename} is not there.", hint="Run `dsdc fsck` to see what else is missing."
            ) from error
        return found if reason is None else replace(found, notes={**found.notes, "layer": reason})

    def _from_layer(self, page: PageSource) -> tuple[PageText | None, str | None]:
        """(the page's text, or None; why there is none, for a document that could have one)."""
        if page.media_type not in (types.PDF, types.EMAIL):
            return None, None
        with Image.open(page.image) as image:
            layer = self._layers.read(page.document, page.page, image.size, page.media_type)
            if layer is None:
                return None, "unreadable"
            # What a message says is its text, however short: it was drawn from it.
            reason = None if page.media_type == types.EMAIL else why_bad(layer, self._config, image)
        if reason is not None:
            return None, reason
        stripped = layer.stripped + _lost_on_the_way(page)
        notes = {"layer": "used", **({"stripped": stripped} if stripped else {})}
        return PageText(layer.text.strip(), "text-layer", 1.0, layer.words, notes), None


def _lost_on_the_way(page: PageSource) -> int:
    """Characters of a message that its pages could not show; the first page tells of all."""
    return lost_characters(page.document) if page.media_type == types.EMAIL and page.page == 1 else 0

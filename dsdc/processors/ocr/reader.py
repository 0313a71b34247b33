"""Text of pages: the PDF's own where it is good, else Tesseract's."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pypdfium2
from PIL import Image

from dsdc.errors import BytesMissing, DocumentError, StorageError
from dsdc.processors import media_type as types
from dsdc.processors.contract import PageSource, PageText, TextReader
from dsdc.processors.ocr import scale
from dsdc.processors.ocr.engines import Engine, choose_engine
from dsdc.processors.ocr.layer import Layers, why_bad
from dsdc.processors.render.codec import decode, stored_dpi
from dsdc.settings import Ocr

_Outcome = PageText | DocumentError | StorageError


class TesseractReader(TextReader):
    """Decides page by page; `notes["layer"]` says what became of a PDF's text layer, and why."""

    name: ClassVar[str] = "tesseract-reader"
    version: ClassVar[str] = "1"

    def __init__(self, config: Ocr, engine: Engine | None = None) -> None:
        """`engine` is tesserocr where it is installed, else pytesseract, unless one is given."""
        self._config = config
        self._given = engine

    @cached_property
    def _engine(self) -> Engine:
        return self._given or choose_engine(self._config)

    @property
    def params(self) -> Mapping[str, Any]:
        """What decides the text, engine and language data among it.

        Raises:
            MissingSystemPackage: no language data on this machine.
        """
        return {
            **self._engine.params,
            "languages": self._config.languages,
            "page_segmentation": self._config.page_segmentation,
            "enlarge_below_dpi": scale.ENLARGE_BELOW_DPI,
            "enlargement": scale.ENLARGEMENT,
            "min_layer_chars": self._config.min_layer_chars,
            "min_layer_printable": self._config.min_layer_printable,
            "pdfium": str(pypdfium2.version.PDFIUM_INFO),
        }

    def read(self, pages: Sequence[PageSource]) -> Iterator[PageText | Exception]:
        """Results in the order of `pages`; `ocr.workers` pages are recognised at once, a few ahead of the reader.

        Raises:
            MissingSystemPackage: before the first page, when the engine or its language data is missing.
        """
        threads = self._config.threads
        engine = self._engine
        waiting: deque[Future[_Outcome]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="ocr") as pool, Layers() as layers:
            try:
                for page in pages:
                    waiting.append(self._start(page, pool, layers, engine))
                    if len(waiting) > 2 * threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _start(self, page: PageSource, pool: ThreadPoolExecutor, layers: Layers, engine: Engine) -> Future[_Outcome]:
        """Layers are read here, in order and at once (PDFium is single-threaded); recognition goes to the pool."""
        try:
            text, reason = self._from_layer(page, layers)
        except StorageError as error:
            return _done(error)
        if text is not None:
            return _done(text)
        return pool.submit(_recognise, page, engine, reason)

    def _from_layer(self, page: PageSource, layers: Layers) -> tuple[PageText | None, str | None]:
        """(the page's text, or None; why there is none, for a PDF)."""
        if page.media_type != types.PDF:
            return None, None
        try:
            with Image.open(page.image) as image:
                layer = layers.read(page.document, page.page, image.size)
                reason = why_bad(layer, self._config, image) if layer else "unreadable"
        except FileNotFoundError as error:
            raise _missing(error) from error
        if layer is None or reason is not None:
            return None, reason
        notes = {"layer": "used", **({"stripped": layer.stripped} if layer.stripped else {})}
        return PageText(layer.text.strip(), "text-layer", 1.0, layer.words, notes), None


def _recognise(page: PageSource, engine: Engine, layer: str | None) -> _Outcome:
    try:
        image = decode(_bytes(page.image))
        grey, dpi, times = scale.prepare(image, stored_dpi(image))
        found = engine.recognise(grey, dpi, times)
    except (DocumentError, StorageError) as error:
        return error
    notes: dict[str, Any] = {"dpi": dpi, "enlarged": times}
    if layer is not None:
        notes["layer"] = layer
    if found.stripped:
        notes["stripped"] = found.stripped
    return PageText(found.text, "ocr", found.confidence, found.words, notes)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise _missing(error) from error


def _missing(error: FileNotFoundError) -> BytesMissing:
    return BytesMissing(f"{error.filename} is not there.", hint="Run `dsdc fsck` to see what else is missing.")


def _done(outcome: _Outcome) -> Future[_Outcome]:
    future: Future[_Outcome] = Future()
    future.set_result(outcome)
    return future

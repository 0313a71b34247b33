"""The two ways to run Tesseract: inside this process (tesserocr), or a process a page (pytesseract)."""

from __future__ import annotations

import os
import queue
import threading
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from dsdc.errors import DocumentError, MissingSystemPackage
from dsdc.processors.ocr.engine import too_slow
from dsdc.processors.ocr.tessdata import language_hashes
from dsdc.processors.ocr.tsv import Recognised, parse
from dsdc.settings import Ocr

#: Pages are read in parallel, each by one thread: Tesseract's own threads make several pages at once 5 times slower.
_ONE_THREAD = {"OMP_THREAD_LIMIT": "1"}
_IMPORT = threading.Lock()


class TesserocrEngine:
    """libtesseract in this process; one API object a thread at work, kept for the next page."""

    name = "tesserocr"
    enlarges = True
    turns = False

    def __init__(self, config: Ocr, tessdata: Path) -> None:
        self._config = config
        self._tessdata = tessdata
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @cached_property
    def params(self) -> dict[str, Any]:
        version = _load_tesserocr().tesseract_version().split()[1]
        return {
            "engine": self.name,
            "engine_version": version,
            "tessdata": language_hashes(self._tessdata, self._config.languages),
            "languages": self._config.languages,
            "page_segmentation": self._config.page_segmentation,
        }

    def recognise(self, image: Image.Image, dpi: int, scale: float, timeout_s: float | None = None) -> Recognised:
        api = self._borrow()
        width, height = image.size
        api.SetImageBytes(image.tobytes(), width, height, 1, width)
        api.SetSourceResolution(dpi)
        # An API that was interrupted is not given back: the next page gets a fresh one.
        if not api.Recognize(max(int((timeout_s or self._config.timeout_s) * 1000), 1)):
            raise too_slow(self._config)
        found = parse(api.GetTSVText(0), scale)
        api.Clear()
        # What was learned from this page must not change the next one: a page's text depends on that page alone.
        api.ClearAdaptiveClassifier()
        self._idle.put(api)
        return found

    def _borrow(self) -> Any:
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return _load_tesserocr().PyTessBaseAPI(
                path=str(self._tessdata), lang=self._config.languages, psm=self._config.page_segmentation
            )


def _load_tesserocr() -> ModuleType:
    """Import with one OpenMP thread: the limit is read once, when the library loads.

    It is taken back afterwards, so that PyTorch, which reads the same variable, keeps its threads.
    """
    with _IMPORT:
        before = {key: os.environ.get(key) for key in _ONE_THREAD}
        os.environ.update(_ONE_THREAD)
        try:
            import tesserocr
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key)
                else:
                    os.environ[key] = value
        return tesserocr


class PytesseractEngine:
    """The `tesseract` program, started anew for each page."""

    name = "pytesseract"
    enlarges = True
    turns = False

    def __init__(self, config: Ocr, tessdata: Path) -> None:
        self._config = config
        self._tessdata = tessdata

    @cached_property
    def params(self) -> dict[str, Any]:
        module = _load_pytesseract()
        try:
            version = str(module.get_tesseract_version())
        except module.TesseractNotFoundError as error:
            raise _no_program() from error
        return {
            "engine": self.name,
            "engine_version": version,
            "tessdata": language_hashes(self._tessdata, self._config.languages),
            "languages": self._config.languages,
            "page_segmentation": self._config.page_segmentation,
        }

    def recognise(self, image: Image.Image, dpi: int, scale: float, timeout_s: float | None = None) -> Recognised:
        module = _load_pytesseract()
        flags = f"--tessdata-dir {self._tessdata} --psm {self._config.page_segmentation} --dpi {dpi}"
        try:
            tsv: bytes = module.image_to_data(
                image,
                lang=self._config.languages,
                config=flags,
                timeout=timeout_s or self._config.timeout_s,
                output_type=module.Output.BYTES,
            )
        except module.TesseractNotFoundError as error:
            raise _no_program() from error
        except module.TesseractError as error:
            raise DocumentError(f"Tesseract refused the page: {error.message}") from error
        except RuntimeError as error:  # pytesseract's way to report its time-out
            raise too_slow(self._config) from error
        return parse(tsv.decode("utf-8", errors="replace"), scale)


def _load_pytesseract() -> ModuleType:
    """pytesseract, its children limited to one thread without touching this process's own environment."""
    import pytesseract

    with _IMPORT:
        pytesseract.pytesseract.environ = {**os.environ, **_ONE_THREAD}
    return pytesseract


def _no_program() -> MissingSystemPackage:
    return MissingSystemPackage("The program `tesseract` is not installed.", hint="Run: apt-get install tesseract-ocr")

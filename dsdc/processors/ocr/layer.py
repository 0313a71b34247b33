"""The text that a PDF carries itself, or an e-mail laid out as one, and whether it deserves to be believed."""

from __future__ import annotations

import ctypes
import re
import unicodedata
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pypdfium2
from PIL import Image

from dsdc.errors import DocumentError
from dsdc.processors import media_type as types
from dsdc.processors.contract import Word
from dsdc.processors.mail.body import body_as_pdf
from dsdc.processors.ocr.tsv import sound
from dsdc.processors.render.pdf import PDFIUM, opened
from dsdc.settings import Ocr

#: PDFium's mark for a hyphen at a line's end; it swallows the line break that followed.
_LINE_HYPHEN = "\x02"
_LONG_WORD = re.compile(r"[^\W\d_]{4,}")
_VOWEL = re.compile(r"[aeiouyàáâãäåæèéêëìíîïòóôõöøœùúûüýÿ]", re.IGNORECASE)
_UNDECODED = re.compile(r"\(cid:\d+\)")

#: Share of vowels among the letters of words of four or more Latin letters: 0.35 to 0.5 in European languages, about
#: 0.15 where letters are shifted ("Wkh txlfn eurzq ira"), which is what a font with a broken encoding yields.
_VOWELS = (0.22, 0.7)
_ENOUGH_WORDS = 8

#: A scan with a stamped number or a mail-room header has a layer, but hardly a text: fewer characters than this, over
#: an image that fills half of the page, and most of the page's ink outside the layer's boxes.
_STAMP_CHARS = 300
_SCAN_AREA = 0.5
_MAX_INK_OUTSIDE = 0.5
_DARK = 128


@dataclass(frozen=True)
class Layer:
    """The text layer of one page; boxes in pixels of the page image; `scan` where an image fills half of the page."""

    text: str
    words: tuple[Word, ...]
    stripped: int
    scan: bool


def why_bad(layer: Layer, config: Ocr, image: Image.Image) -> str | None:
    """Why the layer should not be believed, or None where it is good.

    Args:
        layer: as read from the PDF.
        config: gives `min_layer_chars` and `min_layer_printable`.
        image: the rendered page.
    """
    dense = [ch for ch in layer.text if not ch.isspace()]
    if len(dense) < max(config.min_layer_chars, 1):
        return "too short"
    printable = sum(map(_is_printable, dense)) / (len(dense) + layer.stripped)
    if printable < config.min_layer_printable:
        return "not printable"
    if sum(map(len, _UNDECODED.findall(layer.text))) > (1 - config.min_layer_printable) * len(dense):
        return "glyph numbers"
    if not _reads_like_words(layer.text):
        return "no words"
    if layer.scan and len(dense) < _STAMP_CHARS and _ink_outside(layer.words, image) > _MAX_INK_OUTSIDE:
        return "a stamp on a scan"
    return None


def _is_printable(ch: str) -> bool:
    """Not a control character, a private-use glyph, a surrogate or unassigned."""
    return unicodedata.category(ch) not in ("Cc", "Co", "Cs", "Cn")


def _reads_like_words(text: str) -> bool:
    words = [word for word in _LONG_WORD.findall(text) if "LATIN" in unicodedata.name(word[0], "")]
    if len(words) < _ENOUGH_WORDS:
        return True
    letters = "".join(words)
    return _VOWELS[0] <= len(_VOWEL.findall(letters)) / len(letters) <= _VOWELS[1]


def _ink_outside(words: tuple[Word, ...], image: Image.Image) -> float:
    """Share of the dark pixels that lie in no word's box."""
    dark = np.asarray(image.convert("L")) < _DARK
    total = int(dark.sum())
    for word in words:
        dark[max(word.top, 0) : word.top + word.height, max(word.left, 0) : word.left + word.width] = False
    return int(dark.sum()) / total if total else 0.0


class Layers:
    """Reads text layers page by page, keeping the last document open: a long one is not parsed for each page."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._document: pypdfium2.PdfDocument | None = None
        self._open = ExitStack()

    def __enter__(self) -> Layers:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def read(self, path: Path, page: int, size: tuple[int, int], media_type: str = types.PDF) -> Layer | None:
        """The layer of `page` (from 1), boxes in an image of `size` pixels; None where PDFium cannot read the page.

        Args:
            path: a PDF, or an e-mail, whose layer is that of its laid-out body.
            page: counts from 1.
            size: width and height of the page's image.
            media_type: which of the two the document is.

        Raises:
            FileNotFoundError: the document is gone.
        """
        document = self._opened(path, media_type)
        if document is None:
            return None
        with PDFIUM:
            try:
                return _read(document, page - 1, size)
            except pypdfium2.PdfiumError:
                return None

    def _opened(self, path: Path, media_type: str) -> pypdfium2.PdfDocument | None:
        if path != self._path:
            self._open.close()
            self._path = self._document = None
            try:
                pdf = self._open.enter_context(body_as_pdf(path)) if media_type == types.EMAIL else path
                self._document = self._open.enter_context(opened(pdf))
            except DocumentError:
                self._document = None
            self._path = path
        return self._document


def _read(document: pypdfium2.PdfDocument, index: int, size: tuple[int, int]) -> Layer:
    page = document[index]
    try:
        page = _with_filled_fields(document, page, index)
        text_page = page.get_textpage()
        try:
            raw = "".join(chr(code) for code in _codes(text_page))
            words = _words(page, text_page, raw, size)
        finally:
            text_page.close()
        text, stripped = sound(_joined(raw).replace(_LINE_HYPHEN, "-\n").replace("\r\n", "\n").replace("\r", "\n"))
        return Layer(text=text, words=words, stripped=stripped, scan=_is_scan(page))
    finally:
        page.close()


def _with_filled_fields(document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage, index: int) -> pypdfium2.PdfPage:
    """The page with what was typed into its form fields as text; the file itself is not touched."""
    if page.formenv is None or document.get_formtype() == pypdfium2.raw.FORMTYPE_NONE:
        return page
    page.flatten()
    page.close()
    return document[index]


def _codes(text_page: pypdfium2.PdfTextPage) -> list[int]:
    """UTF-16 code unit of each character, so that a position in the text is the number of its box."""
    get = pypdfium2.raw.FPDFText_GetUnicode
    return [get(text_page, i) for i in range(text_page.count_chars())]


def _joined(raw: str) -> str:
    """PDFium counts in UTF-16: an emoji comes as two halves."""
    return raw.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _words(
    page: pypdfium2.PdfPage, text_page: pypdfium2.PdfTextPage, raw: str, size: tuple[int, int]
) -> tuple[Word, ...]:
    """Each run of visible characters with the box from its first to its last one."""
    found = []
    for match in re.finditer(r"[^\s\x02]+", raw):
        text, _ = sound(_joined(match.group()))
        if text:
            corners = [
                *_corners(page, text_page.get_charbox(match.start(), loose=True), size),
                *_corners(page, text_page.get_charbox(match.end() - 1, loose=True), size),
            ]
            left, top = min(x for x, _ in corners), min(y for _, y in corners)
            right, bottom = max(x for x, _ in corners), max(y for _, y in corners)
            found.append(Word(text, left, top, right - left, bottom - top, confidence=1.0))
    return tuple(found)


def _corners(
    page: pypdfium2.PdfPage, box: tuple[float, float, float, float], size: tuple[int, int]
) -> list[tuple[int, int]]:
    """Two opposite corners in pixels; PDFium minds the page's rotation and crop box."""
    left, bottom, right, top = box
    return [_to_pixels(page, left, top, size), _to_pixels(page, right, bottom, size)]


def _to_pixels(page: pypdfium2.PdfPage, x: float, y: float, size: tuple[int, int]) -> tuple[int, int]:
    across, down = ctypes.c_int(), ctypes.c_int()
    pypdfium2.raw.FPDF_PageToDevice(page, 0, 0, *size, 0, x, y, ctypes.byref(across), ctypes.byref(down))
    return across.value, down.value


def _is_scan(page: pypdfium2.PdfPage) -> bool:
    width, height = page.get_size()
    for image in page.get_objects(filter=[pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]):
        left, bottom, right, top = image.get_bounds()
        if (right - left) * (top - bottom) >= _SCAN_AREA * width * height:
            return True
    return False

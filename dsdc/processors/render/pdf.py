"""PDF to page images: PDFium, and Poppler through pdf2image for what PDFium cannot open or load."""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
from pdf2image import convert_from_path, pdfinfo_from_path
from pdf2image.exceptions import (
    PDFInfoNotInstalledError,
    PDFPageCountError,
    PDFPopplerTimeoutError,
    PDFSyntaxError,
)
from PIL import Image

from dsdc.errors import CorruptFile, EncryptedFile, TooLarge
from dsdc.log import get_logger
from dsdc.processors.contract import DamagedPage
from dsdc.processors.render.mend import mended
from dsdc.processors.render.page import Patience, RenderedPage
from dsdc.settings import Render

log = get_logger(__name__)

#: PDFium keeps global state and must be called by one thread at a time; whoever calls it holds this.
PDFIUM = threading.RLock()

_POINTS_PER_INCH = 72
_POPPLER_TIMEOUT_S = 120
_POPPLER_ERRORS = (PDFInfoNotInstalledError, PDFPageCountError, PDFSyntaxError, PDFPopplerTimeoutError)
_HINT = "Check that it opens where it came from, print it to a new PDF and send that."
#: How Poppler's messages begin where it is not its own fault.
_COMPLAINTS = ("Syntax Error", "Internal Error", "Bogus memory")
#: Poppler leaves out what is no page in the page tree, and the pages that follow move up.
_PAGES_MOVED = "Kid object"
_OPINION_DPI = 10
_OPINION_TIMEOUT_S = 20

#: A page is looked for colour at a quarter of its size, where any coloured mark still leaves a trace of itself.
#: 9 ms a text page with the grey rendering that follows, against 22 ms for colour at full size and a comparison.
_PROBE = 4
#: Difference of channels (of 255) that is the noise of a grey scan stored as a colour JPEG.
_COLOURLESS = 4


@contextmanager
def opened(source: Path) -> Iterator[pypdfium2.PdfDocument | None]:
    """The document with its forms drawn, or None where PDFium cannot open it; an empty user password is tried.

    Raises:
        EncryptedFile: it needs a password, or has a security handler that nobody knows.
    """
    with PDFIUM:
        document = _open(source)
        if document is not None:
            _draw_forms(document)
    try:
        yield document
    finally:
        if document is not None:
            with PDFIUM:
                document.close()


def _open(source: Path) -> pypdfium2.PdfDocument | None:
    try:
        return pypdfium2.PdfDocument(source)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (pypdfium2.raw.FPDF_ERR_PASSWORD, pypdfium2.raw.FPDF_ERR_SECURITY):
            raise EncryptedFile(hint="Remove the password (print it to a new PDF) and send that.") from error
        log.warning("render.pdfium_cannot_open", error=str(error))
        return _open_mended(source)


def _open_mended(source: Path) -> pypdfium2.PdfDocument | None:
    """What is left of a document that was cut short."""
    data = mended(source.read_bytes())
    try:
        return pypdfium2.PdfDocument(data) if data is not None else None
    except pypdfium2.PdfiumError:
        return None


def _draw_forms(document: pypdfium2.PdfDocument) -> None:
    """Let pages show what was filled into their fields. PDFium is built without JavaScript: no script runs."""
    # It would advise every reader of an XFA form to build PDFium anew; such forms carry a plain copy of their fields.
    logging.getLogger("pypdfium2").setLevel(logging.ERROR)
    try:
        document.init_forms()
    except pypdfium2.PdfiumError as error:
        log.warning("render.forms_not_drawn", error=str(error))


def pdf_page_count(source: Path, limits: Render) -> int:
    """Number of pages as the document declares it.

    Raises:
        CorruptFile: neither PDFium nor Poppler finds a page.
        EncryptedFile: it needs a password.
        TooLarge: more than `render.max_pages`.
    """
    with opened(source) as document:
        return _count(document, source, limits)


def pdf_pages(source: Path, limits: Render, first: int) -> Iterator[RenderedPage | DamagedPage]:
    """The pages from `first` on, rendered one at a time; one that neither engine can draw says so.

    Raises as `pdf_page_count`.
    """
    patience = Patience()
    with opened(source) as document:
        last = _count(document, source, limits)
        for page in range(first, last + 1):
            if patience.lost:
                yield from patience.not_tried(page, last)
                return
            try:
                drawn = _by_pdfium(document, page, limits) if document is not None else None
                if drawn is not None:
                    _require_sound(drawn, source)
                yield drawn or _by_poppler(source, page, limits)
                patience.good()
            except CorruptFile as error:
                yield patience.damaged(page, error)


def _count(document: pypdfium2.PdfDocument | None, source: Path, limits: Render) -> int:
    with PDFIUM:
        count = len(document) if document is not None else 0
    count = count or int(_poppler_info(source, None)["Pages"])
    if count < 1:
        raise CorruptFile("The PDF has no pages.", hint=_HINT)
    if count > limits.max_pages:
        raise TooLarge(
            f"The document has {count} pages, more than render.max_pages ({limits.max_pages}).",
            hint="Split it, or raise render.max_pages in config.local.yaml.",
        )
    return count


def _scale(width: float, height: float, limits: Render) -> float:
    """Pixels a point: `render.dpi`, or less for a page so big that it would exceed a limit. Sizes in points."""
    by_area = float(np.sqrt(limits.max_pixels / (width * height)))
    return min(limits.dpi / _POINTS_PER_INCH, limits.max_side / max(width, height), by_area)


def _by_pdfium(document: pypdfium2.PdfDocument, page: int, limits: Render) -> RenderedPage | None:
    """One page, grey where it has no colour; None where PDFium cannot load or render it."""
    with PDFIUM:
        try:
            loaded = document[page - 1]
        except pypdfium2.PdfiumError as error:
            log.warning("render.pdfium_cannot_load", page=page, error=str(error))
            return None
        try:
            width, height = loaded.get_size()
            if width <= 0 or height <= 0:
                return None
            scale = _scale(width, height, limits)
            return RenderedPage(page=page, image=_draw(loaded, scale, limits), dpi=round(scale * _POINTS_PER_INCH))
        except pypdfium2.PdfiumError as error:
            log.warning("render.pdfium_cannot_render", page=page, error=str(error))
            return None
        finally:
            loaded.close()


def _require_sound(drawn: RenderedPage, source: Path) -> None:
    """PDFium draws a page whose content it cannot read as an empty one, without a word; Poppler says what is wrong.

    Raises:
        CorruptFile: nothing is on the page, and that is not how it was meant.
    """
    pixels = np.asarray(drawn.image)
    if bool((pixels == pixels[0, 0]).all()) and (complaints := _poppler_complaints(source, drawn.page)):
        log.warning("render.page_lost", page=drawn.page, error=complaints[0])
        raise CorruptFile(f"Page {drawn.page} of the PDF is damaged: nothing on it can be read.", hint=_HINT)


def _poppler_complaints(source: Path, page: int) -> list[str]:
    """What Poppler has to say against a page; nothing where it is not installed or does not come to an end."""
    command = ["pdftoppm", "-f", str(page), "-l", str(page), "-r", str(_OPINION_DPI), "-gray", str(source)]
    try:
        done = subprocess.run(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=_OPINION_TIMEOUT_S, check=False
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return []
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    return [line for line in lines if line.startswith(_COMPLAINTS)]


def _draw(page: pypdfium2.PdfPage, scale: float, limits: Render) -> Image.Image:
    probe = page.render(scale=scale / _PROBE, rev_byteorder=True).to_numpy()
    bitmap = page.render(scale=scale, rev_byteorder=True, grayscale=not has_colour(probe))
    image: Image.Image = bitmap.to_pil().copy()  # the bitmap's memory is PDFium's
    bitmap.close()
    if max(image.size) > limits.max_side:  # sizes are rounded up
        image = image.crop((0, 0, min(image.width, limits.max_side), min(image.height, limits.max_side)))
    return image


def has_colour(pixels: np.ndarray) -> bool:
    """Whether any of the pixels `[height, width, 3]` (uint8) is not grey."""
    signed = pixels.astype(np.int16)
    red, green, blue = signed[..., 0], signed[..., 1], signed[..., 2]
    return bool(max(np.abs(red - green).max(), np.abs(green - blue).max()) > _COLOURLESS)


def _by_poppler(source: Path, page: int, limits: Render) -> RenderedPage:
    """One page that PDFium gave up.

    Raises:
        CorruptFile: Poppler cannot either, or draws nothing or another page: it does so for one that is not there.
    """
    info = _poppler_info(source, page)
    if any(_PAGES_MOVED in complaint for complaint in _poppler_complaints(source, page)):
        raise CorruptFile(f"Page {page} of the PDF is missing.", hint=_HINT)
    size = next((str(value) for key, value in info.items() if key.startswith("Page") and key.endswith("size")), "")
    try:
        width, _, height = size.split()[:3]
        dpi = max(1, int(_scale(float(width), float(height), limits) * _POINTS_PER_INCH))
        found = convert_from_path(source, dpi=dpi, first_page=page, last_page=page, timeout=_POPPLER_TIMEOUT_S)
    except (*_POPPLER_ERRORS, ValueError, ZeroDivisionError) as error:
        raise CorruptFile(f"Page {page} of the PDF cannot be rendered.", hint=_HINT) from error
    if not found or found[0].convert("L").getextrema() in ((255, 255), (0, 0)):
        raise CorruptFile(f"Page {page} of the PDF cannot be rendered.", hint=_HINT)
    image = found[0].convert("RGB")
    log.info("render.by_poppler", page=page, dpi=dpi)
    return RenderedPage(page=page, image=image if has_colour(np.asarray(image)) else image.getchannel("G"), dpi=dpi)


def _poppler_info(source: Path, page: int | None) -> dict[str, Any]:
    try:
        info: dict[str, Any] = pdfinfo_from_path(
            source, timeout=_POPPLER_TIMEOUT_S, **({"first_page": page, "last_page": page} if page else {})
        )
    except PDFInfoNotInstalledError as error:
        raise CorruptFile(
            "The PDF is damaged and PDFium cannot read it.", hint="poppler-utils, if installed, might."
        ) from error
    except (*_POPPLER_ERRORS, ValueError) as error:
        raise CorruptFile("The PDF is damaged: neither PDFium nor Poppler can read it.", hint=_HINT) from error
    return info

"""Pages into files, byte for byte the same every time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image
from reportlab import rl_config
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from dsdc.samples.fonts import face, pdf_name
from dsdc.samples.page import Ink, Page, Picture, Shape, Text

#: Pillow dates a PDF now unless told otherwise.
_EPOCH = time.struct_time((2000, 1, 1, 0, 0, 0, 5, 1, 0))
MEDIA_TYPES = {"pdf": "application/pdf", "tif": "image/tiff", "png": "image/png", "jpg": "image/jpeg"}


def write_born_digital(pages: Sequence[Page], path: Path, title: str) -> None:
    """A PDF with a text layer; handwriting and shapes are vectors."""
    rl_config.useA85 = 0  # base 85 is done in Python here and takes longer than drawing the page
    canvas = Canvas(str(path), invariant=1, pageCompression=1)  # invariant: no creation date, no random id
    canvas.setTitle(title)
    for page in pages:
        canvas.setPageSize(page.size)
        for item in page.items:
            _draw(canvas, item, page.height)
        canvas.showPage()
    canvas.save()


def _draw(canvas: Canvas, item: Text | Shape | Ink | Picture, height: float) -> None:
    if isinstance(item, Text):
        _draw_text(canvas, item, height)
    elif isinstance(item, Shape):
        _draw_shape(canvas, item, height)
    elif isinstance(item, Ink):
        for stroke in item.strokes:
            _draw_shape(canvas, Shape(stroke, item.width, item.grey), height)
    else:
        canvas.drawImage(_encoded(item.image), item.x, height - item.y - item.h, item.w, item.h)


def _draw_text(canvas: Canvas, item: Text, height: float) -> None:
    canvas.setFont(pdf_name(face(item.font)), item.font.size)
    canvas.setFillGray(item.grey / 255)
    if not item.angle:
        canvas.drawString(item.x, height - item.y, item.text)
        return
    canvas.saveState()
    canvas.translate(item.x, height - item.y)
    canvas.rotate(item.angle)
    canvas.drawString(0, 0, item.text)
    canvas.restoreState()


def _draw_shape(canvas: Canvas, item: Shape, height: float) -> None:
    path = canvas.beginPath()
    (x, y), *rest = item.points
    path.moveTo(x, height - y)
    for x, y in rest:
        path.lineTo(x, height - y)
    if item.closed:
        path.close()
    canvas.setLineWidth(item.width)
    if item.grey is not None:
        canvas.setStrokeGray(item.grey / 255)
    if item.fill is not None:
        canvas.setFillGray(item.fill / 255)
    canvas.drawPath(path, stroke=int(item.grey is not None), fill=int(item.fill is not None))


def _encoded(image: Image.Image, quality: int = 60) -> ImageReader:
    """The image as JPEG in memory, which ReportLab takes over as it is."""
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    buffer.seek(0)
    return ImageReader(buffer)


def write_scanned_pdf(images: Sequence[Image.Image], dpi: int, path: Path) -> None:
    """A PDF of images alone: bilevel ones in CCITT Group 4, others as JPEG."""
    first, *others = images
    quality = {} if first.mode == "1" else {"quality": 45}  # Group 4 has none, and Pillow refuses it there
    dates = {"creationDate": _EPOCH, "modDate": _EPOCH}
    first.save(path, "PDF", resolution=dpi, save_all=True, append_images=others, **dates, **quality)


def write_tiff(images: Sequence[Image.Image], dpi: int, path: Path) -> None:
    """A multi-page TIFF in CCITT Group 4."""
    first, *others = [image.convert("1") for image in images]
    first.save(path, "TIFF", compression="group4", dpi=(dpi, dpi), save_all=True, append_images=others)


def write_image(image: Image.Image, dpi: int, path: Path, quality: int) -> None:
    """One page as PNG or JPEG, by the name's ending."""
    if path.suffix == ".png":
        image.save(path, "PNG", dpi=(dpi, dpi))
    else:
        image.save(path, "JPEG", dpi=(dpi, dpi), quality=quality)

"""Pages with known text: typeset by reportlab, rendered by the platform's own renderer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from dsdc.processors.contract import PageSource
from dsdc.processors.render import PageRenderer, encode
from dsdc.settings import Render

LINES = (
    "Dear Madam or Sir,",
    "we thank you for your order number 48213 of 17 March 2021",
    "and confirm delivery of 250 units at a price of $1,934.50 each.",
    "The shipment leaves our warehouse on Thursday morning.",
    "Please sign the enclosed form and return it within ten days.",
    "Yours faithfully, Margaret Whitfield",
)


@pytest.fixture
def lines() -> tuple[str, ...]:
    return LINES


def _draw(pdf: canvas.Canvas, lines: Sequence[str], *, visible: bool = True) -> None:
    text = pdf.beginText(72, 700)
    text.setFont("Times-Roman", 13)
    text.setTextRenderMode(0 if visible else 3)
    for line in lines:
        text.textLine(line)
    pdf.drawText(text)


@pytest.fixture
def pdf_with(tmp_path: Path) -> Callable[..., Path]:
    """A one-page PDF: a scan over the whole page, visible text, or invisible text as behind a scan."""

    def make(
        name: str, *, text: Sequence[str] = (), hidden: Sequence[str] = (), scan: Image.Image | None = None
    ) -> Path:
        path = tmp_path / name
        pdf = canvas.Canvas(str(path), pagesize=(612, 792))
        if scan is not None:
            pdf.drawImage(ImageReader(scan), 0, 0, 612, 792)
        _draw(pdf, text)
        _draw(pdf, hidden, visible=False)
        pdf.showPage()
        pdf.save()
        return path

    return make


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[..., PageSource]:
    """Render the first page of a PDF and store its image, as the pipeline does."""

    def make(source: Path, dpi: int = 200) -> PageSource:
        page = next(PageRenderer(Render(dpi=dpi)).draw(source, "application/pdf"))
        image = tmp_path / f"{source.stem}-{dpi}.png"
        image.write_bytes(encode(page.image, page.dpi))
        return PageSource(source, "application/pdf", 1, image)

    return make


@pytest.fixture
def scan_of(pdf_with: Callable[..., Path], page_of: Callable[..., PageSource]) -> Callable[..., Image.Image]:
    """The picture of a page of text, to stand in for a scan."""

    def make(lines: Sequence[str], dpi: int = 200) -> Image.Image:
        return Image.open(page_of(pdf_with(f"typed{len(lines)}.pdf", text=lines), dpi).image)

    return make


@pytest.fixture
def stored(tmp_path: Path) -> Callable[..., PageSource]:
    """An image as a stored page of a document that has no text layer."""

    def make(name: str, image: Image.Image, dpi: int | None = None) -> PageSource:
        path = tmp_path / f"{name}.png"
        path.write_bytes(encode(image, dpi))
        return PageSource(path, "image/png", 1, path)

    return make


@pytest.fixture(scope="session")
def corpus() -> Path:
    root = Path(__file__).resolve().parents[4]
    folder = Path(os.environ.get("DSDC_CORPUS", root.parent / "shared" / "corpus"))
    if not (folder / "funsd" / "annotations").is_dir():
        pytest.skip(f"no corpus at {folder}; set DSDC_CORPUS to a folder with funsd/ to measure real documents")
    return folder


@pytest.fixture(scope="session")
def edit_distance() -> Callable[[str, str], int]:
    """Levenshtein's, row by row."""

    def distance(one: str, other: str) -> int:
        row = list(range(len(other) + 1))
        for i, a in enumerate(one, start=1):
            before, row[0] = row[0], i
            for j, b in enumerate(other, start=1):
                before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
        return row[-1]

    return distance

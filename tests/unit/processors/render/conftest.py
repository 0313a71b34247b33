"""Documents made for the tests: PDFs written by hand, object by object, and by reportlab."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from reportlab.pdfgen import canvas

from dsdc.processors.contract import DamagedPage
from dsdc.processors.render import PageRenderer
from dsdc.processors.render.page import RenderedPage
from dsdc.settings import Render

Save = Callable[[str, bytes], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write bytes under a name; gives the path."""

    def write(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


class StrictRenderer(PageRenderer):
    """Raises over a damaged page instead of going on: most tests are about one page."""

    def draw(self, source: Path, media_type: str, *, first: int = 1) -> Iterator[RenderedPage]:
        for page in super().draw(source, media_type, first=first):
            if isinstance(page, DamagedPage):
                raise page.error
            yield page


@pytest.fixture
def renderer() -> PageRenderer:
    return StrictRenderer(Render())


@pytest.fixture
def text_pdf() -> Callable[..., bytes]:
    """A PDF with a line of text a page; `colours` are (red, green, blue), 0 to 1, a page each."""

    def make(
        colours: Sequence[tuple[float, float, float]] = ((0, 0, 0),), size: tuple[float, float] = (612, 792)
    ) -> bytes:
        out = io.BytesIO()
        pdf = canvas.Canvas(out, pagesize=size, pageCompression=0, invariant=True)
        for number, colour in enumerate(colours, start=1):
            pdf.setFont("Helvetica", 24)
            pdf.setFillColorRGB(*colour)
            pdf.drawString(size[0] / 8, size[1] / 2, f"Page {number} of a test")
            pdf.showPage()
        pdf.save()
        return out.getvalue()

    return make


@pytest.fixture
def bare_pdf() -> Callable[..., bytes]:
    """A one-page PDF of plain objects, whose page dictionary the caller may spoil."""

    def make(page: bytes = b"/Type/Page/MediaBox[0 0 300 200]") -> bytes:
        stream = b"BT /F 24 Tf 50 100 Td (Hello) Tj ET"
        objects = [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
            b"<<" + page + b"/Parent 2 0 R/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
            b"<</Length %d>>stream\n%s\nendstream" % (len(stream), stream),
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        ]
        out, offsets = b"%PDF-1.4\n", []
        for number, body in enumerate(objects, start=1):
            offsets.append(len(out))
            out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
        size = len(objects) + 1
        trailer = b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (size, len(out))
        return out + b"xref\n0 %d\n0000000000 65535 f \n" % size + table + trailer

    return make

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pikepdf
import pypdfium2
import pytest
from reportlab.pdfgen import canvas

from dsdc.errors import CorruptFile, EncryptedFile, TooLarge
from dsdc.processors.render import PageRenderer
from dsdc.settings import Render

Save = Callable[[str, bytes], Path]
PDF = "application/pdf"
BLACK, RED = (0.0, 0.0, 0.0), (1.0, 0.0, 0.0)


def test_pages_have_the_resolution_of_the_settings(save: Save, text_pdf: Callable[..., bytes]) -> None:
    source = save("a.pdf", text_pdf([BLACK, BLACK, BLACK]))
    renderer = PageRenderer(Render(dpi=100))
    assert renderer.page_count(source, PDF) == 3
    pages = list(renderer.draw(source, PDF))
    assert [(p.page, p.image.size, p.dpi) for p in pages] == [(n, (850, 1100), 100) for n in (1, 2, 3)]
    assert [p.page for p in renderer.draw(source, PDF, first=3)] == [3]


def test_grey_where_there_is_no_colour_and_the_same_pixels_as_pdfium(
    save: Save, text_pdf: Callable[..., bytes], renderer: PageRenderer
) -> None:
    source = save("a.pdf", text_pdf([BLACK, RED, (0.5, 0.5, 0.5)]))
    pages = list(renderer.draw(source, PDF))
    assert [p.image.mode for p in pages] == ["L", "RGB", "L"]
    document = pypdfium2.PdfDocument(source)
    for page in pages:
        bare = document[page.page - 1].render(scale=200 / 72).to_pil().convert(page.image.mode)
        difference = np.abs(np.asarray(bare, dtype=int) - np.asarray(page.image, dtype=int))
        assert difference.max() <= 2  # PDFium anti-aliases grey and colour with another rounding
    document.close()


def test_one_thin_coloured_line_makes_a_page_coloured(save: Save, renderer: PageRenderer) -> None:
    out = io.BytesIO()
    pdf = canvas.Canvas(out)
    pdf.setStrokeColorRGB(0, 0, 1)
    pdf.setLineWidth(0.4)
    pdf.line(100, 100, 130, 101)
    pdf.save()
    (page,) = renderer.draw(save("a.pdf", out.getvalue()), PDF)
    assert page.image.mode == "RGB"


def test_a_huge_page_is_rendered_at_less_dpi_instead_of_refused(save: Save, text_pdf: Callable[..., bytes]) -> None:
    source = save("poster.pdf", text_pdf([BLACK], size=(7200, 3600)))
    (page,) = PageRenderer(Render(max_side=1000)).draw(source, PDF)
    assert page.image.size == (1000, 500)
    assert page.dpi == 10
    (small,) = PageRenderer(Render(max_pixels=20_000)).draw(source, PDF)
    assert small.image.width * small.image.height <= 20_000 * 1.02
    assert small.image.width == pytest.approx(2 * small.image.height, rel=0.02)


def test_rotation_is_applied(save: Save, bare_pdf: Callable[..., bytes], renderer: PageRenderer) -> None:
    (page,) = renderer.draw(save("a.pdf", bare_pdf(b"/Type/Page/MediaBox[0 0 300 200]/Rotate 90")), PDF)
    assert page.image.height > page.image.width


def test_what_was_typed_into_a_form_is_drawn(save: Save, renderer: PageRenderer) -> None:
    def form(value: str) -> bytes:
        out = io.BytesIO()
        pdf = canvas.Canvas(out)
        pdf.acroForm.textfield(name="a", value=value, x=100, y=500, width=200, height=24)
        pdf.showPage()
        pdf.save()
        return out.getvalue()

    empty, filled = (next(renderer.draw(save("f.pdf", form(value)), PDF)).image for value in ("", "WWWWWWWW"))
    assert (np.asarray(filled) < 100).sum() > (np.asarray(empty) < 100).sum() + 200


def _encrypted(data: bytes, user: str) -> bytes:
    out = io.BytesIO()
    with pikepdf.open(io.BytesIO(data)) as pdf:
        pdf.save(out, encryption=pikepdf.Encryption(owner="owner", user=user, R=6))
    return out.getvalue()


def test_an_empty_user_password_opens(save: Save, text_pdf: Callable[..., bytes], renderer: PageRenderer) -> None:
    plain = text_pdf([BLACK])
    source = save("a.pdf", _encrypted(plain, ""))
    assert renderer.page_count(source, PDF) == 1
    (page,), (expected,) = renderer.draw(source, PDF), renderer.draw(save("b.pdf", plain), PDF)
    assert page.image.tobytes() == expected.image.tobytes()


def test_any_other_password_is_reported(save: Save, text_pdf: Callable[..., bytes], renderer: PageRenderer) -> None:
    source = save("a.pdf", _encrypted(text_pdf([BLACK]), "secret"))
    with pytest.raises(EncryptedFile) as caught:
        renderer.page_count(source, PDF)
    assert caught.value.hint
    with pytest.raises(EncryptedFile):
        list(renderer.draw(source, PDF))


def _ink(image: object) -> int:
    return int((np.asarray(image) < 128).sum())


def test_poppler_reads_a_document_that_pdfium_cannot_open(
    save: Save, bare_pdf: Callable[..., bytes], renderer: PageRenderer
) -> None:
    good = bare_pdf()
    headless = save("headless.pdf", good.removeprefix(b"%PDF-1.4\n"))
    with pytest.raises(pypdfium2.PdfiumError):
        pypdfium2.PdfDocument(headless)
    assert renderer.page_count(headless, PDF) == 1
    (page,), (expected,) = renderer.draw(headless, PDF), renderer.draw(save("good.pdf", good), PDF)
    assert page.image.mode == "L"
    assert page.image.size == pytest.approx(expected.image.size, abs=2)
    assert _ink(page.image) == pytest.approx(_ink(expected.image), rel=0.25)


def test_poppler_renders_a_page_that_pdfium_cannot_load(
    save: Save, bare_pdf: Callable[..., bytes], renderer: PageRenderer
) -> None:
    source = save("mistyped.pdf", bare_pdf(b"/Type/Pages/MediaBox[0 0 300 200]"))
    document = pypdfium2.PdfDocument(source)
    with pytest.raises(pypdfium2.PdfiumError):
        document[0]
    document.close()
    (page,) = renderer.draw(source, PDF)
    assert _ink(page.image) > 500


def test_a_page_that_is_not_there_is_corrupt_and_not_blank(
    save: Save, text_pdf: Callable[..., bytes], renderer: PageRenderer
) -> None:
    boastful = text_pdf([BLACK]).replace(b"/Count 1", b"/Count 3")
    pages = renderer.draw(save("a.pdf", boastful), PDF)
    assert next(pages).page == 1
    with pytest.raises(CorruptFile, match="Page 2"):
        next(pages)


@pytest.mark.parametrize(
    "data", [b"%PDF-1.4\n", b"%PDF-1.4\nthis is a text file named .pdf\n" * 50, b"%PDF-1.7" + bytes(5000)]
)
def test_what_only_begins_like_a_pdf_is_corrupt(save: Save, renderer: PageRenderer, data: bytes) -> None:
    with pytest.raises(CorruptFile) as caught:
        renderer.page_count(save("a.pdf", data), PDF)
    assert caught.value.hint


def test_a_truncated_pdf_is_corrupt(save: Save, text_pdf: Callable[..., bytes], renderer: PageRenderer) -> None:
    data = text_pdf([BLACK] * 4)
    with pytest.raises(CorruptFile):
        list(renderer.draw(save("a.pdf", data[: len(data) // 2]), PDF))


def test_too_many_pages(save: Save, text_pdf: Callable[..., bytes]) -> None:
    source = save("a.pdf", text_pdf([BLACK] * 4))
    with pytest.raises(TooLarge, match="4 pages"):
        PageRenderer(Render(max_pages=3)).page_count(source, PDF)


def test_threads_may_render_at_once(save: Save, text_pdf: Callable[..., bytes], renderer: PageRenderer) -> None:
    source = save("a.pdf", text_pdf([BLACK, RED] * 4))
    expected = [page.image.tobytes() for page in renderer.draw(source, PDF)]
    found: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: found.append([p.image.tobytes() for p in renderer.draw(source, PDF)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4

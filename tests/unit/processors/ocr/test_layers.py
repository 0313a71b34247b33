"""When a PDF's own text is believed, and when its picture is read instead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pikepdf
import pytest
from PIL import Image, ImageOps
from reportlab.pdfgen import canvas

from dsdc.errors import BytesMissing
from dsdc.processors.contract import PageSource, PageText
from dsdc.processors.ocr import PageReader
from dsdc.settings import Ocr

PageOf = Callable[..., PageSource]
PdfWith = Callable[..., Path]


def _read(page: PageSource) -> PageText:
    (found,) = PageReader(Ocr()).read([page])
    assert isinstance(found, PageText)
    return found


def test_a_good_layer_is_taken_word_by_word(lines: Sequence[str], pdf_with: PdfWith, page_of: PageOf) -> None:
    page = page_of(pdf_with("good.pdf", text=lines))
    found = _read(page)
    assert (found.extraction, found.confidence, found.notes["layer"]) == ("text-layer", 1.0, "used")
    assert found.text.splitlines() == list(lines)
    assert [word.text for word in found.words] == " ".join(lines).split()


def test_boxes_of_a_layer_enclose_the_ink(lines: Sequence[str], pdf_with: PdfWith, page_of: PageOf) -> None:
    page = page_of(pdf_with("good.pdf", text=lines))
    ink = ImageOps.invert(Image.open(page.image).convert("L")).point(lambda value: 255 if value > 127 else 0)
    for word in _read(page).words:
        box = (word.left - 1, word.top - 1, word.left + word.width + 1, word.top + word.height + 1)
        assert ink.crop(box).getbbox() is not None, word
        ink.paste(0, box)
    assert ink.getbbox() is None  # nothing is left outside the boxes


def test_boxes_follow_the_rotation_of_the_page(
    lines: Sequence[str], pdf_with: PdfWith, page_of: PageOf, tmp_path: Path
) -> None:
    turned = tmp_path / "turned.pdf"
    with pikepdf.open(pdf_with("good.pdf", text=lines)) as pdf:
        pdf.pages[0].Rotate = 90
        pdf.save(turned)
    page = page_of(turned)
    ink = ImageOps.invert(Image.open(page.image).convert("L"))
    for word in _read(page).words:
        assert ink.crop((word.left, word.top, word.left + word.width, word.top + word.height)).getextrema()[1] > 100


def test_a_scan_without_a_layer_is_recognised(
    lines: Sequence[str], pdf_with: PdfWith, page_of: PageOf, scan_of: Callable[..., Image.Image]
) -> None:
    found = _read(page_of(pdf_with("scan.pdf", scan=scan_of(lines))))
    assert (found.extraction, found.notes["layer"]) == ("ocr", "too short")
    assert "48213" in found.text


def test_a_searchable_scan_keeps_the_layer_behind_it(
    lines: Sequence[str], pdf_with: PdfWith, page_of: PageOf, scan_of: Callable[..., Image.Image]
) -> None:
    found = _read(page_of(pdf_with("searchable.pdf", scan=scan_of(lines), hidden=lines)))
    assert found.extraction == "text-layer"
    assert found.text.splitlines() == list(lines)


def test_a_stamp_on_a_scan_is_not_its_text(
    lines: Sequence[str], pdf_with: PdfWith, page_of: PageOf, scan_of: Callable[..., Image.Image]
) -> None:
    scan = scan_of(["", "", "", *lines, *lines])
    found = _read(page_of(pdf_with("stamped.pdf", scan=scan, text=["RECEIVED 2021-03-17 ARCHIVE 0042"])))
    assert (found.extraction, found.notes["layer"]) == ("ocr", "a stamp on a scan")
    assert "48213" in found.text


def _shifted(text: str) -> str:
    """What a font with a broken encoding gives: every letter three further on."""
    return "".join(chr((ord(ch) - 97 + 3) % 26 + 97) if "a" <= ch <= "z" else ch for ch in text)


@pytest.fixture
def scanned(lines: Sequence[str], pdf_with: PdfWith, page_of: PageOf, scan_of: Callable[..., Image.Image]) -> PageOf:
    """A scan of `lines` with any layer behind it."""
    return lambda hidden: page_of(pdf_with("garbage.pdf", scan=scan_of(lines), hidden=hidden))


@pytest.mark.parametrize(
    ("garbage", "reason"),
    [
        (_shifted, "no words"),
        (lambda line: "".join(f"(cid:{ord(ch)})" for ch in line), "glyph numbers"),
        (lambda line: "".join(ch for ch in line if ch == "$"), "too short"),
    ],
    ids=["shifted", "cid", "nearly-empty"],
)
def test_a_garbage_layer_gives_way_to_recognition(
    garbage: Callable[[str], str], reason: str, lines: Sequence[str], scanned: PageOf
) -> None:
    found = _read(scanned([garbage(line) for line in lines]))
    assert (found.extraction, found.notes["layer"]) == ("ocr", reason)
    assert "48213" in found.text


def test_private_use_glyphs_are_not_text(
    lines: Sequence[str], pdf_with: PdfWith, page_of: PageOf, tmp_path: Path
) -> None:
    """A symbol font says that every letter is a private-use character; the picture still shows letters."""
    mapping = "".join(f"<{code:02x}> <{0xE000 + code:04x}>\n" for code in range(33, 127))
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /x def /CMapType 2 def\n"
        "1 begincodespacerange <00> <ff> endcodespacerange\n"
        f"94 beginbfchar\n{mapping}endbfchar endcmap end end"
    )
    spoilt = tmp_path / "private.pdf"
    with pikepdf.open(pdf_with("good.pdf", text=lines)) as pdf:
        for font in pdf.pages[0].Resources.Font.values():
            font.ToUnicode = pdf.make_stream(cmap.encode())
        pdf.save(spoilt)
    found = _read(page_of(spoilt))
    assert (found.extraction, found.notes["layer"]) == ("ocr", "not printable")
    assert "48213" in found.text


def test_thresholds_come_from_the_settings(lines: Sequence[str], pdf_with: PdfWith, page_of: PageOf) -> None:
    page = page_of(pdf_with("short.pdf", text=["Invoice 42"]))
    (short,) = PageReader(Ocr(min_layer_chars=9)).read([page])
    (long,) = PageReader(Ocr(min_layer_chars=10)).read([page])
    assert [short.extraction, long.extraction] == ["text-layer", "ocr"]  # type: ignore[union-attr]


def test_line_end_hyphens_and_filled_fields_are_in_the_text(page_of: PageOf, tmp_path: Path) -> None:
    path = tmp_path / "form.pdf"
    pdf = canvas.Canvas(str(path))
    pdf.drawString(72, 700, "This form is a docu-")
    pdf.drawString(72, 686, "ment with a field.")
    pdf.acroForm.textfield(name="a", value="Filled 4711", x=72, y=600, width=200, height=24)
    pdf.showPage()
    pdf.save()
    text = _read(page_of(path)).text
    assert "docu-\nment with a field." in text
    assert "Filled 4711" in text


def test_a_missing_image_or_document_is_that_pages_error_alone(
    lines: Sequence[str], pdf_with: PdfWith, page_of: PageOf, tmp_path: Path
) -> None:
    good = page_of(pdf_with("good.pdf", text=lines))
    no_image = PageSource(good.document, good.media_type, 1, tmp_path / "gone.png")
    no_document = PageSource(tmp_path / "gone.pdf", good.media_type, 1, good.image)
    scan = PageSource(tmp_path / "x.png", "image/png", 1, tmp_path / "gone.png")
    found = list(PageReader(Ocr()).read([no_image, good, no_document, good, scan]))
    assert [type(one) for one in found] == [BytesMissing, PageText, BytesMissing, PageText, BytesMissing]


def test_pages_of_one_document_are_decided_one_by_one(
    lines: Sequence[str], pdf_with: PdfWith, scan_of: Callable[..., Image.Image], tmp_path: Path, stored: PageOf
) -> None:
    from dsdc.processors.render import PageRenderer, encode
    from dsdc.settings import Render

    mixed = tmp_path / "mixed.pdf"
    with pikepdf.open(pdf_with("good.pdf", text=lines)) as pdf:
        with pikepdf.open(pdf_with("scan.pdf", scan=scan_of(lines))) as scan:
            pdf.pages.extend(scan.pages)
        pdf.save(mixed)
    sources = []
    for page in PageRenderer(Render()).draw(mixed, "application/pdf"):
        image = tmp_path / f"mixed-{page.page}.png"
        image.write_bytes(encode(page.image, page.dpi))
        sources.append(PageSource(mixed, "application/pdf", page.page, image))
    found = list(PageReader(Ocr()).read([*sources, sources[0]]))
    assert [page.extraction for page in found] == ["text-layer", "ocr", "text-layer"]  # type: ignore[union-attr]

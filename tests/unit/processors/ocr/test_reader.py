from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from dsdc.errors import DocumentError
from dsdc.processors.contract import PageSource, PageText
from dsdc.processors.ocr import PageReader
from dsdc.processors.ocr.scale import prepare, resolution
from dsdc.processors.ocr.tsv import Recognised, parse, sound
from dsdc.settings import Ocr

HEADING = "level\tpage_num\tblock_num\tpar_num\tline_num\tword_num\tleft\ttop\twidth\theight\tconf\ttext\n"


class CountingEngine:
    """Reads the width of the image as its text."""

    name = "counting"
    enlarges = turns = False
    params: dict[str, Any] = {"engine": "counting"}  # noqa: RUF012

    def __init__(self) -> None:
        self.calls = 0

    def recognise(self, image: Image.Image, dpi: int, scale: float) -> Recognised:
        self.calls += 1
        if image.width == 1013:
            raise DocumentError("unlucky")
        return Recognised((), str(image.width))


PLAIN = Ocr(orientation=False, deskew=False)


@pytest.fixture
def pages(stored: Callable[..., PageSource]) -> list[PageSource]:
    return [stored(f"p{width}", Image.new("1", (width, 1100)), 200) for width in range(1000, 1030)]


def test_results_come_in_order_and_an_error_stands_in_its_place(pages: list[PageSource]) -> None:
    found = list(PageReader(PLAIN, CountingEngine()).read(pages))
    assert [page.text if isinstance(page, PageText) else str(page) for page in found] == [
        "unlucky" if width == 1013 else str(width) for width in range(1000, 1030)
    ]


def test_a_page_is_read_when_it_is_asked_for(pages: list[PageSource]) -> None:
    engine = CountingEngine()
    results = PageReader(PLAIN, engine).read(pages)
    assert engine.calls == 0
    next(results)
    assert engine.calls == 1


def test_tsv_becomes_lines_paragraphs_and_words_in_page_pixels() -> None:
    rows = [
        "1\t1\t0\t0\t0\t0\t0\t0\t200\t100\t-1\t",
        "5\t1\t1\t1\t1\t1\t10\t20\t30\t8\t96.5\tDear",
        "5\t1\t1\t1\t1\t2\t50\t20\t30\t8\t80\tMs",
        "5\t1\t1\t1\t2\t1\t10\t40\t30\t8\t50\tBell\t,",
        "5\t1\t1\t2\t1\t1\t10\t60\t30\t8\t95\t ",
        "5\t1\t1\t2\t1\t2\t10\t60\t30\t8\t-1\t9\x00\ud800\ufffd9",
        "5\t1\t2\t1\t1\t1\t10\t80\t30\t8\t100\tend",
    ]
    found = parse(HEADING + "\n".join(rows), scale=2)
    assert found.text == "Dear Ms\nBell\t,\n\n99\n\nend"
    assert found.stripped == 3
    first = found.words[0]
    assert (first.left, first.top, first.width, first.height, first.confidence) == (5, 10, 15, 4, 0.965)
    assert found.words[3].confidence == 0
    assert found.confidence == pytest.approx((0.965 + 0.8 + 0.5 + 0 + 1) / 5)


def test_no_rows_no_words() -> None:
    assert parse("") == parse(HEADING) == Recognised((), "")
    assert parse("").confidence is None


def test_sound_text_can_be_stored() -> None:
    text, lost = sound("a\x00b\ud83dc é 5")
    assert (text, lost) == ("abc é 5", 2)
    text.encode()


def test_what_was_stripped_is_noted(stored: Callable[..., PageSource]) -> None:
    class Nul(CountingEngine):
        def recognise(self, image: Image.Image, dpi: int, scale: float) -> Recognised:
            return parse("5\t1\t1\t1\t1\t1\t0\t0\t9\t9\t90\tn\x00ul")

    (page,) = PageReader(PLAIN, Nul()).read([stored("p", Image.new("L", (1700, 2200)), 200)])
    assert isinstance(page, PageText)
    assert (page.text, page.notes["stripped"]) == ("nul", 1)


@pytest.mark.parametrize(
    ("size", "dpi", "expected"),
    [
        ((1700, 2200), 200, 200),
        ((762, 1000), None, 91),  # a letter page, unsaid
        ((3024, 4032), 72, 367),  # a camera's idle claim: 56 inches
        ((600, 900), 200, 200),  # a small receipt
        ((40, 30), 300, 4),  # a tenth of an inch is no page either
    ],
)
def test_a_pages_resolution(size: tuple[int, int], dpi: int | None, expected: int) -> None:
    assert resolution(size, dpi) == expected


def test_small_pages_are_enlarged_and_all_are_grey() -> None:
    grey, dpi, times = prepare(Image.new("RGB", (762, 1000)), None)
    assert (grey.mode, grey.size, dpi, times) == ("L", (1524, 2000), 182, 2)
    grey, dpi, times = prepare(Image.new("1", (1700, 2200)), 200)
    assert (grey.mode, grey.size, dpi, times) == ("L", (1700, 2200), 200, 1)
    assert prepare(Image.new("L", (10, 10)), None)[1] == 70

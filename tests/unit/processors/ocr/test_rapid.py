"""RapidOCR on pages with known text: words where they stand, whichever way up the page lies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dsdc.processors.contract import PageSource, Word
from dsdc.processors.ocr.engines import choose_engine
from dsdc.processors.ocr.rapid import RapidOcrEngine
from dsdc.processors.ocr.recognise import recognise
from dsdc.settings import Ocr

CLOCKWISE = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


@pytest.fixture(scope="module")
def engine() -> RapidOcrEngine:
    return RapidOcrEngine(Ocr())


@pytest.fixture
def letter(lines: tuple[str, ...], scan_of: Callable[..., Image.Image]) -> Image.Image:
    return scan_of(lines, dpi=150).convert("L")


def _ink(image: Image.Image, word: Word) -> float:
    """Share of the word's box that is dark."""
    box = (word.left, word.top, word.left + word.width, word.top + word.height)
    return float((np.asarray(image.crop(box)) < 128).mean())


def test_each_word_lies_in_its_box(letter: Image.Image, engine: RapidOcrEngine, lines: tuple[str, ...]) -> None:
    found = engine.recognise(letter, 150, 1)
    assert found.text.split() == " ".join(lines).split()
    assert [word.text for word in found.words] == found.text.split()
    assert found.confidence is not None
    assert found.confidence > 0.9
    assert min(_ink(letter, word) for word in found.words) > 0.05
    tesseract = choose_engine(Ocr(engine="tesseract")).recognise(letter, 150, 1).words
    often = Counter(word.text for word in found.words)
    by_text = {word.text: word for word in tesseract if often[word.text] == 1}
    shared = [(word, by_text[word.text]) for word in found.words if word.text in by_text]
    assert len(shared) > 30
    letter_width = 15  # of 13 pt at 150 dpi
    assert max(abs(one.left - other.left) for one, other in shared) <= letter_width
    assert max(abs(one.left + one.width - other.left - other.width) for one, other in shared) <= letter_width


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_page_is_read_and_its_boxes_lie_on_it_as_it_was_stored(
    degrees: int, letter: Image.Image, engine: RapidOcrEngine, stored: Callable[..., PageSource]
) -> None:
    turned = letter.transpose(CLOCKWISE[degrees])
    upright = recognise(stored("upright", letter, 150).image, engine, Ocr())
    found = recognise(stored("turned", turned, 150).image, engine, Ocr())
    assert found.notes["rotated"] == 360 - degrees
    assert found.text == upright.text
    assert min(_ink(turned, word) for word in found.words) > 0.05
    as_it_lies = Ocr(orientation=False)
    left = recognise(stored("left", turned, 150).image, RapidOcrEngine(as_it_lies), as_it_lies)
    assert "rotated" not in left.notes


def test_a_line_that_runs_up_an_upright_page_is_read_too(letter: Image.Image, engine: RapidOcrEngine) -> None:
    page = Image.new("L", (letter.width + 200, letter.height), 255)
    page.paste(letter, (200, 0))
    line = letter.crop(engine_box(engine.recognise(letter, 150, 1).words, "Madam", "Sir,"))
    page.paste(line.transpose(Image.Transpose.ROTATE_90), (60, 400))
    found = engine.recognise(page, 150, 1)
    assert found.rotated == 0
    beside = [word for word in found.words if word.left < 200]
    assert " ".join(word.text for word in beside).split() == ["Madam", "or", "Sir,"]


def engine_box(words: tuple[Word, ...], first: str, last: str) -> tuple[int, int, int, int]:
    a, b = (next(word for word in words if word.text == text) for text in (first, last))
    return a.left - 8, a.top - 8, b.left + b.width + 8, b.top + b.height + 8


def test_boxes_count_in_the_page_and_not_in_what_was_enlarged(letter: Image.Image, engine: RapidOcrEngine) -> None:
    twice = letter.resize((letter.width * 2, letter.height * 2))
    once, doubled = engine.recognise(letter, 150, 1), engine.recognise(twice, 300, 2)
    for word, again in zip(once.words, doubled.words, strict=True):
        assert abs(word.left - again.left) <= 12
        assert abs(word.top - again.top) <= 6


def test_letters_with_accents_are_kept(engine: RapidOcrEngine, scan_of: Callable[..., Image.Image]) -> None:
    page = scan_of(["Größe und Übergewicht, façade, señor, København"], dpi=200).convert("L")
    assert engine.recognise(page, 200, 1).text.split() == [
        "Größe",
        "und",
        "Übergewicht,",
        "façade,",
        "señor,",
        "København",
    ]


@pytest.mark.corpus
def test_most_words_of_receipts_are_found(corpus: Path, engine: RapidOcrEngine) -> None:
    wanted: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    for image in sorted((corpus / "sroie" / "img").glob("*.jpg"))[:3]:
        rows = (corpus / "sroie" / "box" / f"{image.stem}.csv").read_text().splitlines()
        truth = Counter(" ".join(row.split(",", 8)[8] for row in rows if row).lower().split())
        wanted += truth
        missed += truth - Counter(engine.recognise(Image.open(image).convert("L"), 100, 1).text.lower().split())
    assert missed.total() < 0.25 * wanted.total()

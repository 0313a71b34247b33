"""What stands on a page: line breaking, transcripts, sentences, handwriting, and whether Tesseract can read it."""

from __future__ import annotations

import random
import re
from difflib import SequenceMatcher

import pytesseract
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dsdc.samples.fonts import FAMILIES, Font, width, wrap
from dsdc.samples.handwriting import Hand
from dsdc.samples.layout import LAYOUTS
from dsdc.samples.page import Ink, Page
from dsdc.samples.raster import raster
from dsdc.samples.text import PHRASES, SENTENCES, Tongue


def flat(text: str) -> str:
    return " ".join(text.split())


def error_rate(truth: str, read: str) -> float:
    """Share of characters that differ, counted over matching blocks; 0 is a perfect reading."""
    truth, read = flat(truth), flat(read)
    matched = sum(block.size for block in SequenceMatcher(None, truth, read, autojunk=False).get_matching_blocks())
    return 1 - 2 * matched / (len(truth) + len(read))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Tesseract's own threads get in each other's way."""
    monkeypatch.setenv("OMP_THREAD_LIMIT", "1")


@pytest.mark.parametrize("label", ["letter", "memo"])
def test_tesseract_reads_a_clean_page(label):
    rng = random.Random(5)
    page = LAYOUTS[label](Tongue(rng))[0]
    read = pytesseract.image_to_string(raster(page, 200, rng), config="--psm 3")
    assert len(flat(page.transcript())) > 200
    assert error_rate(page.transcript(), read) < 0.1


def test_tesseract_reads_most_of_the_scanned_correspondence(made):
    rates = []
    for sample in made.samples:
        if sample.kind in ("tiff-g4", "scan") and sample.label in (
            "letter",
            "memo",
            "email",
            "resume",
            "specification",
        ):
            with Image.open(made.path(sample)) as image:
                image.seek(0)
                rates.append(error_rate(sample.pages[0], pytesseract.image_to_string(image.convert("L"))))
    assert len(rates) >= 3
    assert sorted(rates)[len(rates) // 2] < 0.35


@given(st.text("abc defg", max_size=200), st.sampled_from(sorted(FAMILIES)), st.floats(60, 400))
def test_wrapping_keeps_every_word_and_the_measure(text, family, measure):
    font = Font(family, 10)
    lines = wrap(text, font, measure)
    assert " ".join(lines).split() == text.split()
    assert all(width(line, font) <= measure + 1e-6 for line in lines if " " in line)


def test_bold_and_long_lines_are_wider():
    assert width("Annual report", Font("times", 12)) < width("Annual report", Font("times", 12).strong())
    assert width("iii", Font("courier", 10)) == width("WWW", Font("courier", 10)) == pytest.approx(18)


def test_transcript_joins_a_baseline_and_keeps_the_order():
    page, font = Page(), Font("courier", 10)
    page.text(10, 100, "Total", font)
    page.text(200, 101, "12.50", font)
    page.text(10, 140, "Thank you", font)
    Hand.draw(random.Random(1)).write(page, 10, 170, "ok to pay", random.Random(1))
    assert page.transcript() == "Total 12.50\nThank you\nok to pay"
    assert page.transcript(printed_only=True) == "Total 12.50\nThank you"


def test_teletype_has_no_accents_and_says_so():
    page = Page()
    page.text(10, 10, "René Müller", Font("teletype", 10))
    page.text(10, 30, "René Müller", Font("times", 10))
    assert page.transcript() == "Rene Muller\nRené Müller"


def test_signatures_are_not_text():
    page, rng = Page(), random.Random(2)
    Hand.draw(rng).sign(page, 100, 100, "Vernon Marwick", rng)
    assert page.transcript() == ""
    assert any(isinstance(item, Ink) and item.strokes for item in page.items)


@pytest.mark.parametrize("seed", range(8))
def test_every_template_can_be_said(seed):
    tongue = Tongue(random.Random(seed))
    for pool in (*SENTENCES.values(), *PHRASES.values()):
        for template in pool:
            said = tongue.say(template)
            assert said
            assert not re.search(r"[{}]", said)


def test_a_template_comes_back_only_after_all_others():
    tongue = Tongue(random.Random(4))
    pool = SENTENCES["courtesy"]
    said = {text[-18:] for text in tongue.sentences("courtesy", len(pool))}
    assert len(said) == len(pool)


def test_two_hands_write_differently():
    pages = [Page(), Page()]
    for seed, page in enumerate(pages):
        rng = random.Random(seed)
        Hand.draw(rng, 10).write(page, 0, 50, "Dear Sirs", rng)
    first, second = (page.items[0] for page in pages)
    assert isinstance(first, Ink)
    assert first != second

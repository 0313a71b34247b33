"""Error rates against cases counted by hand."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.text_errors import Box, Errors, Passage, in_rows, page_errors
from dsdc.processors.contract import Word
from tests.projects import ROOT


def at(left: int, top: int, text: str) -> Passage:
    """Ten pixels a letter, twenty high."""
    return Passage(text, Box(left, top, left + 10 * len(text), top + 20))


def read(left: int, top: int, text: str) -> Word:
    return Word(text, left, top, 10 * len(text), 20, 0.9)


TRUTH = (at(0, 0, "Name"), at(100, 3, "Smith"), at(0, 40, "Total"), at(100, 37, "12.50"))  # two rows


def test_a_page_read_as_it_is_written_has_no_errors() -> None:
    words = [read(p.box.left, p.box.top, p.text) for p in TRUTH]
    found = page_errors(TRUTH, "Name Smith\n\nTotal  12.50", words)
    assert found.rates() == {
        "cer_sequence": 0,
        "wer_sequence": 0,
        "cer_boxes": 0,
        "wer_boxes": 0,
        "bag_recall": 1,
        "bag_precision": 1,
    }
    assert (found.characters, found.words) == (len("Name Smith Total 12.50"), 4)


def test_another_reading_order_counts_in_the_sequence_alone() -> None:
    words = [read(0, 0, "Name"), read(0, 40, "Total"), read(100, 3, "Smith"), read(100, 37, "12.50")]
    found = page_errors(TRUTH, "Name Total Smith 12.50", words)
    assert found.sequence_words == 2
    assert found.sequence_characters > 0
    assert (found.boxes_characters, found.boxes_words, found.words_found) == (0, 0, 4)


def test_wrong_missing_and_surplus_words_by_hand() -> None:
    words = [read(0, 0, "Nane"), read(100, 3, "Smith"), read(0, 40, "Total"), read(400, 400, "xx")]
    found = page_errors(TRUTH, "Nane Smith Total xx", words)
    # Nane for Name: 1 letter, 1 word; 12.50 missing: 5 letters, 1 word; xx where nothing is: 2 letters, 1 word.
    assert (found.boxes_characters, found.boxes_words) == (8, 3)
    assert found.sequence_words == 2  # Nane for Name, xx for 12.50
    assert (found.words_found, found.words_read, found.words) == (2, 4, 4)


def test_words_of_a_line_are_compared_from_the_left() -> None:
    line = Passage("TAX INVOICE", Box(0, 0, 110, 20))
    found = page_errors([line], "Invoice Tax", [read(40, 0, "Invoice"), read(0, 0, "Tax")], fold_case=True)
    assert (found.boxes_characters, found.boxes_words) == (0, 0)
    assert found.sequence_words == 2
    assert found.words_found == 2
    assert page_errors([line], "tax invoice", []).words_found == 0


def test_a_page_without_text_is_all_errors_and_a_blank_one_none() -> None:
    found = page_errors(TRUTH, "", [])
    assert found.rates()["cer_sequence"] == 1
    assert found.rates()["wer_boxes"] == 1
    assert found.rates()["bag_precision"] == 0
    assert page_errors((), "", []) == Errors()


def test_pages_add_up() -> None:
    good, bad = page_errors(TRUTH, "Name Smith Total 12.50", []), page_errors(TRUTH, "", [])
    both = good + bad
    assert both.words == 8
    assert both.rates()["bag_recall"] == 0.5


def test_rows_go_from_the_top_and_from_the_left() -> None:
    assert [p.text for p in in_rows(TRUTH[::-1])] == ["Name", "Smith", "Total", "12.50"]
    tall = [at(300, 0, "right"), Passage("tall", Box(0, 0, 40, 70)), at(0, 90, "below")]
    assert [p.text for p in in_rows(tall)] == ["tall", "right", "below"]


def _benchmarks(*arguments: str) -> str:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if arguments else 2), done.stderr  # 2: no name was given
    return done.stdout


def test_the_benchmarks_are_listed() -> None:
    assert "ocr_accuracy" in _benchmarks()


@pytest.mark.corpus
def test_ocr_accuracy_measures_the_configured_reader(corpus: object) -> None:
    found = json.loads(_benchmarks("ocr_accuracy", "--limit", "1", "--pdf-pages", "1", "--json"))
    assert found["reader"]["name"] == "page-reader"
    assert found["forms"]["pages"] == found["receipts"]["pages"] == 1
    assert 0 < found["forms"]["cer_boxes"] < 0.5
    assert found["forms"]["bag_recall"] > 0.5
    (page,) = found["pdf_forms"]["each"]
    assert page["layer"] == "used"
    assert page["bag_recall"] > 0.5

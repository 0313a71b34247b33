"""Rows are read across; columns of prose one after the other."""

from __future__ import annotations

from dsdc.processors.contract import Word
from dsdc.processors.ocr.reading_order import arranged


def line(text: str, left: int, top: int) -> list[Word]:
    """Ten pixels a character, 20 high."""
    words, at = [], left
    for part in text.split():
        words.append(Word(part, at, top, 10 * len(part), 20, 1.0))
        at += 10 * (len(part) + 1)
    return words


def test_cells_of_a_row_are_read_across_whatever_order_they_were_found_in() -> None:
    found = [line("12.50", 600, 103), line("Total", 0, 130), line("Item", 0, 100), line("12.50", 600, 131)]
    words, text = arranged(found)
    assert text == "Item 12.50\nTotal 12.50"
    assert [word.text for word in words] == ["Item", "12.50", "Total", "12.50"]


def test_columns_of_prose_are_read_one_after_the_other_below_their_title() -> None:
    left = [f"left column line number {n}" for n in range(6)]
    right = [f"right column line number {n}" for n in range(6)]
    found = [line("A title over both of the columns of this page", 100, 0)]
    for n in range(6):
        found += [line(left[n], 0, 60 + 25 * n), line(right[n], 400, 66 + 25 * n)]
    _, text = arranged(found)
    assert text.split("\n\n") == ["A title over both of the columns of this page", "\n".join(left), "\n".join(right)]


def test_a_table_is_no_column() -> None:
    found = []
    for n in range(8):
        found += [line(f"row {n}", 0, 25 * n), line(f"{n}.00", 400, 25 * n)]
    assert arranged(found)[1].splitlines() == [f"row {n} {n}.00" for n in range(8)]


def test_an_empty_line_parts_paragraphs() -> None:
    assert arranged([line("one", 0, 0), line("two", 0, 25), line("three", 0, 80)])[1] == "one\ntwo\n\nthree"


def test_nothing_gives_nothing() -> None:
    assert arranged([]) == ([], "")

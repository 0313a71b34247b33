from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dsdc.processors.clean import TextCleaner

CLEANER = TextCleaner()

#: What triggers the rules, in any mixture.
PIECES = st.sampled_from(
    [
        *"\n\t|—*- é½가가\x00\x0c\ud800\ufeff\u200b\ufffd\u00a0\u00ad\u0301\u2028ﬁ",
        "-\n",
        "‐\n",
        "\r\n",
        "  ",
        "\u00ad\n",
        "e\u0301",
        "well",
        "docu",
        "ment",
        "DOCU",
        "Jean",
        "42",
        "x²",
        "....",
        "____",
        ". . . . .",
        "Page 3 of 10",
        "- 3 -",
        "FAX 12:30 P.01",
        "ABC 1234567",
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(st.characters()), st.lists(PIECES, max_size=25).map("".join)))
@example("a-\nb-\nc")
@example("docu-\nmen-\ntation")
@example("-\u00ad\n-\n3-")
@example("\u0000" * 50 + "-\n" * 50)
def test_never_fails_and_cleaning_again_changes_nothing(text: str) -> None:
    once = CLEANER.clean(text)
    assert CLEANER.clean(once.text).text == once.text
    once.text.encode()
    assert "\x00" not in once.text
    assert unicodedata.is_normalized("NFC", once.text)


def test_empty_in_empty_out() -> None:
    assert CLEANER.clean("").text == ""
    assert CLEANER.clean(" \n\t\x00 ").text == ""


@pytest.mark.parametrize(
    "text",
    [
        "Total: 1,934.50 €\nNo. 48213",
        "3\n17\n2051122345",
        "½ cup, x² + 5³, № 7, ① first, 10 µg, 5 °C",
        "Français, Müller, Łódź, naïve, São Paulo",
        "2021-03-17 14:05 from the office",
        "Call 555-\n1234 today",
        "Range 10-\n20",
        "☑ yes\n$\n%",
        "First paragraph.\n\nSecond paragraph.",
        "Page 3 of 10 is missing from your fax",
        "From: John\nTo: Mary, 12:30",
        "日本語の文書\nعربى",
    ],
)
def test_information_is_left_alone(text: str) -> None:
    cleaned = CLEANER.clean(text)
    assert cleaned.text == text
    assert cleaned.changes == {}


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("0123456789éüß aZ\n,.$€½-"), max_size=200))
def test_digits_and_accents_survive(text: str) -> None:
    def signs(s: str) -> list[str]:
        return [ch for ch in s if ch in "0123456789éüß½€$"]

    cleaned = CLEANER.clean(text)
    if not {"page_numbers", "fax_headers", "bates_numbers"} & set(cleaned.changes):
        assert signs(cleaned.text) == signs(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a docu-\nment", "a document"),
        ("docu-\nmen-\ntation", "documentation"),
        ("a well-\nknown man", "a well-known man"),
        ("Jean-\nPaul", "Jean-Paul"),
        ("THE DOCU-\nMENT", "THE DOCUMENT"),
        ("state-of-the-\nart", "state-of-the-art"),
        ("a nicotine-\nfree leaf; nicotine-free", "a nicotine-free leaf; nicotine-free"),
        ("crossroads, cross-\nroads", "crossroads, crossroads"),
        ("Ver\u00ad\nwaltung und Ver\u00adwaltung", "Verwaltung und Verwaltung"),
        ("vitamin E-\nrich", "vitamin E-rich"),
        ("a dash -\nand more", "a dash -\nand more"),
        ("über-\nraschend", "überraschend"),
    ],
)
def test_words_cut_by_a_line_end(text: str, expected: str) -> None:
    cleaned = CLEANER.clean(text)
    assert cleaned.text == expected
    if text.count("\n") != expected.count("\n"):
        assert cleaned.changes["hyphens_joined"] >= 1


@pytest.mark.parametrize(
    ("text", "expected", "kind", "count"),
    [
        ("e\u0301te\u0301", "été", "composed", 1),
        ("o\ufb03ce \ufb01le", "office file", "ligatures", 3),
        ("a\x00b\x07c\u200bd\ufeff\ufffd", "abcd", "invisible_characters", 5),
        ("Name ______ Date ____", "Name Date", "leaders", 2),
        ("Chapter 1 ........ 7", "Chapter 1 7", "leaders", 1),
        ("Chapter 1 . . . . . 7", "Chapter 1 7", "leaders", 1),
        ("text\n| ~\n—\nmore", "text\nmore", "noise_lines", 2),
        ("text\nPage 3 of 10", "text", "page_numbers", 1),
        ("- 3 -\ntext", "text", "page_numbers", 1),
        ("JAN-12-98 14:22 FROM ACME CORP TO 12025551212 P.01/03\ntext", "text", "fax_headers", 1),
        ("text\nTIMN 0012345\nTIMN0012346", "text", "bates_numbers", 2),
    ],
)
def test_every_change_is_counted(text: str, expected: str, kind: str, count: int) -> None:
    cleaned = CLEANER.clean(text)
    assert cleaned.text == expected
    assert cleaned.changes == {kind: count}


def test_spacing_is_evened_out_and_paragraphs_stay() -> None:
    assert CLEANER.clean("a \t b\u00a0c  \n\n\n\n  d\r\ne\x0cf").text == "a b c\n\nd\ne\n\nf"


def test_a_long_text_takes_no_time() -> None:
    text = ("- " * 200 + "a" * 300 + "-\n") * 300 + "." * 50_000 + " ." * 20_000 + "12:30 from " * 5_000
    assert CLEANER.clean(text).text

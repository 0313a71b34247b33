"""Names of uploaded files are claims of strangers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsdc.web.uploads import clean_name

CASES = {
    "page.png": "page.png",
    "../../etc/passwd": "passwd",
    "C:\\Users\\ada\\letter.pdf": "letter.pdf",
    "a\x00b.pdf": "a\ufffdb.pdf",
    "a\nb.pdf": "a\ufffdb.pdf",
    "gpj.\u202efdp": "gpj.\ufffdfdp",
    "\ud800.pdf": "\ufffd.pdf",
    "": "unnamed",
    "/": "unnamed",
    "cafe\u0301.pdf": "caf\u00e9.pdf",
}


@pytest.mark.parametrize("given_name", CASES)
def test_names(given_name: str) -> None:
    assert clean_name(given_name) == CASES[given_name]


def test_no_name() -> None:
    assert clean_name(None) == "unnamed"


@given(st.text(max_size=600))
def test_any_name_fits_a_database_and_a_log_line(name: str) -> None:
    cleaned = clean_name(name)
    assert 0 < len(cleaned) <= 200
    assert "\x00" not in cleaned
    assert "\n" not in cleaned
    assert "/" not in cleaned
    cleaned.encode("utf-8")

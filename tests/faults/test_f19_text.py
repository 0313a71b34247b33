"""Text that no database takes: NUL, lone surrogates, bytes that are no UTF-8. Stripped, counted, stored."""

from __future__ import annotations

import pytest

from tests.faults.documents import email, page_objects, pdf, stream
from tests.faults.invariant import rows
from tests.faults.passage import Passage

LINE = b"This line of plain words is long enough to be believed"
TO_UNICODE = b"""/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def
1 begincodespacerange <00> <FF> endcodespacerange
1 beginbfrange <20> <7E> <0020> endbfrange
%d beginbfchar %s endbfchar
endcmap end end"""


def pdf_saying(codes: bytes, **means: bytes) -> bytes:
    """A page with a line of words and these character codes; `means` maps a code (`c01`) to UTF-16 in hexadecimal."""
    pairs = b" ".join(b"<%s> <%s>" % (code[1:].encode(), meaning) for code, meaning in means.items())
    content = b"BT /F 9 Tf 10 150 Td (%s) Tj 0 -20 Td (before%safter) Tj ET" % (LINE, codes)
    objects = page_objects([stream(content)], box=b"0 0 400 200")
    font = objects[3][:-2] + b"/ToUnicode 4 0 R/Encoding/WinAnsiEncoding>>"
    return pdf(objects | {3: font, 4: stream(TO_UNICODE % (len(means), pairs))})


@pytest.mark.parametrize(
    ("meaning", "stripped", "left"),
    [(b"0000", 3, ""), (b"D800", 3, ""), (b"DC00", 3, ""), (b"FFFD", 3, ""), (b"D83DDE00", 0, "\U0001f600" * 3)],
    ids=["NUL", "first half of a character", "second half", "replacement", "a whole emoji"],
)
def test_what_no_database_takes_is_stripped_from_a_text_layer_and_counted(
    passage: Passage, meaning: bytes, stripped: int, left: str
) -> None:
    passage.render({"odd.pdf": pdf_saying(b"\x01\x01\x01", c01=meaning)})
    passage.run("text", "clean")
    ((text, extraction, notes),) = rows("SELECT raw_text, extraction, notes FROM raw_texts")
    assert extraction == "text-layer"
    assert text.splitlines() == [LINE.decode(), f"before{left}after"]
    assert notes.get("stripped", 0) == stripped
    ((words,),) = rows("SELECT words FROM raw_texts")
    assert words[-1][0] == text.split()[-1]
    assert rows("SELECT count(*) FROM processed_texts") == [(1,)]
    passage.check()


def test_a_layer_of_nothing_else_is_not_believed_and_the_page_is_read(passage: Passage) -> None:
    data = pdf_saying(b"\x01" * 80, c01=b"0000")
    passage.render({"nothing.pdf": data})
    passage.run("text")
    ((extraction, notes),) = rows("SELECT extraction, notes FROM raw_texts")
    assert (extraction, notes["layer"]) == ("ocr", "not printable")
    passage.check()


def test_an_email_with_nul_and_bytes_that_are_no_utf_8(passage: Passage) -> None:
    surrogate, wrong = b"\xed\xa0\x80", b"caf\xe9"
    message = email(b"nul: a\0b\0c\r\nsurrogate: %s.\r\nlatin: %s\r\n" % (surrogate, wrong))
    message = message.replace(b"Subject: A message", b"Subject: A \0 m\xe9ssage =?utf-8?Q?=ED=A0=80=00?=")
    found = passage.render({"odd.eml": message})
    passage.run("text", "clean")
    assert found["odd.eml"].brief == ("stored", None, (1,))
    ((text, notes),) = rows("SELECT raw_text, notes FROM raw_texts")
    assert "nul: abc" in text
    assert "latin: café" in text
    assert "A m" in text.replace("  ", " ")
    assert notes["stripped"] == 4
    assert rows("SELECT count(*) FROM processed_texts") == [(1,)]
    passage.check()


def test_names_and_notes_hold_no_nul_either(passage: Passage) -> None:
    """What a broken message is called goes to quarantine, and the reason with it."""
    part = b'--x\r\nContent-Type: text/csv; name="a\0b.csv"\r\nContent-Disposition: attachment\r\n\r\n1,2\r\n--x--\r\n'
    message = email(part, b"multipart/mixed; boundary=x")
    passage.bring({"odd.eml": message})
    passage.run("unpack", "render")
    ((name, category),) = rows("SELECT original_name, category FROM rejected_documents")
    assert "\0" not in name
    assert category == "unsupported"
    assert passage.outcome(message).state == "stored"
    passage.check()

from __future__ import annotations

import io

import pytest
from PIL import Image

from dsdc.errors import EmptyFile, UnsupportedType
from dsdc.processors.media_type import HEAD_BYTES, detect


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("TIFF", "image/tiff"),
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("BMP", "image/bmp"),
        ("PDF", "application/pdf"),
    ],
)
def test_types_are_found_by_content(form: str, expected: str) -> None:
    out = io.BytesIO()
    Image.new("RGB", (20, 10)).save(out, form)
    assert detect(out.getvalue()) == expected


def test_a_pdf_may_have_junk_before_its_header_but_not_beyond_1024_bytes() -> None:
    assert detect(b"\r\nHTTP junk\x00\x01" + b"%PDF-1.7\n") == "application/pdf"
    assert detect(b"\x01" * 1000 + b"%PDF-1.7\n") == "application/pdf"
    with pytest.raises(UnsupportedType):
        detect(b"\x01" * 1025 + b"%PDF-1.7\n")


def test_big_endian_and_bigtiff_are_tiff_and_a_raw_photograph_is_not() -> None:
    assert detect(b"MM\x00*\x00\x00\x00\x08") == "image/tiff"
    assert detect(b"II+\x00\x08\x00\x00\x00") == "image/tiff"
    with pytest.raises(UnsupportedType):
        detect(b"II*\x00\x10\x00\x00\x00CR\x02\x00")


def test_no_bytes_is_empty() -> None:
    with pytest.raises(EmptyFile, match="no bytes"):
        detect(b"")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"Dear Sir,\nplease find enclosed\n", "plain text"),
        ("Sehr geehrte Damen, Grüße".encode(), "plain text"),
        ("text".encode("utf-16"), "plain text"),
        (b"BMW is a car maker and so on, not a bitmap", "plain text"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"\xc5\xd0\xd3\xc6\x00", "EPS"),
        (b'<?xml version="1.0"?>\n<svg xmlns="x"/>', "SVG"),
        (b"\xef\xbb\xbf  <svg/>", "SVG"),
        (b'<?xml version="1.0"?><invoice/>', "XML"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        (b"PK\x03\x04\x14\x00stored.pdf%PDF-1.4", "ZIP"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "Office"),
        (b"GIF89a\x01", "GIF"),
        (b"\x00\x00\x00\x18ftypheic", "HEIC"),
        (b"\x00" * 64, "zero bytes"),
        (b"\x07\x13\x99\xfe\x01\x02", "unknown binary"),
        (b"From: a@b.c\r\nTo: d@e.f\r\nSubject: x\r\n\r\nhello", "plain text that begins like an e-mail"),
        (b"From ann@x Mon Mar  3 2025\nFrom: a@b\nTo: c@d\nMessage-ID: <1@x>\n\nhi", "mailbox"),
        (b"From here on it is plain text: nothing else.\n", "plain text"),
    ],
)
def test_what_is_refused_is_named_and_something_can_be_done(head: bytes, says: str) -> None:
    with pytest.raises(UnsupportedType, match=says) as caught:
        detect(head)
    assert caught.value.hint


@pytest.mark.parametrize(
    "head",
    [
        b"Return-Path: <a@b.c>\r\nReceived: from x\r\n\tby y\r\nFrom: a@b.c\r\n\r\nhello",
        b"From: a@b.c\nTo: d@e.f\nSubject: x\nMIME-Version: 1.0\n\nhello",
        b"from: a@b.c\nSUBJECT: x\nmessage-id: <1@x>\n\nhello",
        b"\xef\xbb\xbfFrom: a@b.c\nSubject: x\nContent-Type: text/plain\n\nhello",
        b"X-UIDL: 1\nX-Mozilla-Status: 0001\nFrom: a@b.c\nDate: x\nMessage-ID: <1@x>\n\nhello",
        b"Received: from x\n" * 400,
        b"From: a@b.c\nTo: d@e.f\nMIME-Version: 1.0\nContent-Type: application/pdf\n\n%PDF-1.7",
        b"From: \xff\xfe\nTo: d@e.f\nMessage-ID: <1@x>",
    ],
)
def test_a_message_is_known_by_the_fields_that_programs_write(head: bytes) -> None:
    assert detect(head[:HEAD_BYTES]) == "message/rfc822"


@pytest.mark.parametrize(
    "head",
    [
        b"From: Ann\nTo: Bob\nSubject: Rent\nDate: today\n\nMessage-ID: and Received: are words of the text.\n",
        b"MEMO\n\nFrom: Ann\nTo: Bob\nMessage-ID: <1@x>\nMIME-Version: 1.0\n",
        b"Date: Mon, 03 Mar 2025\nContent-Type: text/plain\nContent-Length: 3\nX-Frame-Options: DENY\n\nabc",
        b"Content-Type: text/plain\n\nhello",
        b" From: a@b.c\nTo: d@e.f\nMessage-ID: <1@x>\n\nhello",
    ],
)
def test_text_that_looks_a_little_like_a_message_is_none(head: bytes) -> None:
    with pytest.raises(UnsupportedType, match="plain text"):
        detect(head)


def test_an_outlook_message_is_refused_with_what_to_do() -> None:
    with pytest.raises(UnsupportedType, match=r"save a message as \.eml"):
        detect(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")

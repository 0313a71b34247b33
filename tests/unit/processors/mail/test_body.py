"""A message's pages: what stands on them, and that it can be read back letter by letter."""

from __future__ import annotations

import re
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import numpy as np
import pytest

from dsdc.errors import TooLarge
from dsdc.processors.mail.body import MAX_CHARS, body_pdf
from dsdc.processors.media_type import EMAIL
from dsdc.processors.render import PageRenderer
from dsdc.settings import Render
from tests.unit.processors.mail.conftest import HEAD, letter, multipart


def test_a_page_has_the_header_and_the_text(texts) -> None:
    message = letter()
    message["Cc"] = "carol@example.org"
    message["X-Secret"] = "not for print"
    assert texts(message) == [
        "From: Ann Example <ann@example.org>\n"
        "To: bob@example.org\n"
        "Cc: carol@example.org\n"
        "Date: Mon, 03 Mar 2025 10:00:00 +0100\n"
        "Subject: Rent\n"
        "Dear Bob,\n"
        "the rent is due."
    ]


def test_equal_messages_give_equal_bytes(save) -> None:
    source = save(letter("Grüße, Привет, 你好 😀\n" * 90))
    assert body_pdf(source) == body_pdf(source)


def _body_after(source: Path, setup: str) -> bytes:
    """`body_pdf` in a process of its own, which runs `setup` first: ReportLab's fonts are the whole process's."""
    script = f"""
import sys
from pathlib import Path
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from dsdc.processors.mail.body import body_pdf
from dsdc.samples.fonts import FAMILIES, pdf_name
{setup}
sys.stdout.buffer.write(body_pdf(Path(sys.argv[1])))
"""
    return subprocess.run([sys.executable, "-c", script, source], check=True, capture_output=True, timeout=500).stdout


_DRAW_SAMPLES = "for face in FAMILIES['sans']: pdf_name(face)"


def test_whoever_used_the_same_font_file_before_changes_nothing(save) -> None:
    source = save(letter("Grüße, Привет, 你好 😀 हिन्दी \ue000\n"))
    assert _body_after(source, _DRAW_SAMPLES) == _body_after(source, "")


def test_whoever_uses_the_same_font_file_afterwards_gets_their_own_font(save) -> None:
    source = save(letter("Grüße, Привет, 你好 😀\n"))
    afterwards = f"""
body_pdf(Path(sys.argv[1]))
{_DRAW_SAMPLES}
assert [type(pdfmetrics.getFont(pdf_name(face))) for face in FAMILIES["sans"]] == [TTFont] * 4
"""
    assert _body_after(source, afterwards) == _body_after(source, "")


def test_the_page_is_drawn(save) -> None:
    source = save(letter())
    renderer = PageRenderer(Render())
    assert renderer.page_count(source, EMAIL) == 1
    (page,) = renderer.draw(source, EMAIL)
    assert page.image.size == (1654, 2339)  # A4 at 200 dpi
    ink = np.asarray(page.image.convert("L")) < 128
    assert 0.002 < ink.mean() < 0.05
    assert not ink[ink.shape[0] // 2 :].any()  # the text is at the top


def test_what_makes_the_pages_is_among_the_renderers_parameters() -> None:
    assert {"reportlab", "mail_font", "mail_layout", "libxml2"} <= set(PageRenderer(Render()).params)


@pytest.mark.parametrize(
    "line",
    [
        "Zoë naïve façade Œuvre ß – “quoted” … 1.200,00 €",
        "Ελληνικά και Кириллица, Ђорђе, ћирилица",
        "中文邮件 日本語テキスト 한국어 메일",
        "emoji 😀 and 👍🏽 and 𠀀 beyond",
        "हिन्दी ไทย தமிழ்",
        "עברית שלום 123 abc",
        "السلام عليكم ورحمة الله",
        "(סוגריים) מרובעים [1] 25% מתוך",
        "mixed English עברית and שלום back",
        "private \ue000 use",
    ],
)
def test_every_script_can_be_read_back(texts, line: str) -> None:
    assert texts(letter(f"{line}\n"))[0].split("\n")[-1] == line


def test_characters_without_a_shape_are_left_out(texts) -> None:
    assert texts(letter("a\u200bb\u00adc\u034fd\u00a0e\x07f\ufe0fg\n"))[0].endswith("abcd efg")


def test_composed_and_decomposed_accents_are_the_same_text(texts) -> None:
    assert texts(letter("cafe\u0301\n"))[0].endswith("caf\u00e9")


def test_a_long_text_flows_over_pages(texts) -> None:
    lines = [f"This is line {number} of the message." for number in range(150)]
    pages = texts(letter("\n".join(lines)))
    assert len(pages) == 3
    assert "\n".join(pages).split("\n")[4:] == lines


def test_long_lines_wrap_between_words_and_endless_words_anywhere(texts) -> None:
    words, endless = " ".join(f"word{number}" for number in range(60)), "0123456789" * 30
    message = HEAD + b"\r\n" + words.encode() + b"\r\n" + endless.encode()
    lines = texts(message)[0].split("\n")[3:]
    of_words = [line for line in lines if line.startswith("word")]
    assert len(of_words) > 3
    assert " ".join(of_words) == words
    assert "".join(lines[len(of_words) :]) == endless


def test_empty_lines_in_a_row_are_kept_short(texts) -> None:
    assert len(texts(letter("above" + "\n" * 5000 + "below\n"))) == 1


@pytest.mark.parametrize(
    "message",
    [
        HEAD + b"\r\n",
        HEAD + b"\r\n \r\n\x00\x00\r\n",
        HEAD,
        HEAD + b"Content-Type: text/html\r\n\r\n<html><body></body></html>",
        multipart(),
        HEAD + b"Content-Type: application/pdf\r\n\r\n%PDF-1.7",
    ],
    ids=["empty", "blank", "no body", "empty HTML", "no parts", "attachment only"],
)
def test_a_message_without_text_has_a_page_with_its_header(texts, message: bytes) -> None:
    assert texts(message) == ["From: ann@example.org\nTo: bob@example.org\nSubject: Rent"]


def test_a_message_without_header_fields_has_a_page_too(texts) -> None:
    assert texts(b"Received: by x\r\nMessage-ID: <1>\r\n\r\njust text") == ["just text"]


def test_a_text_beyond_the_limit_is_refused_clearly(save) -> None:
    with pytest.raises(TooLarge, match="1000001 characters") as caught:
        body_pdf(save(HEAD + b"\r\n" + b"x" * (MAX_CHARS + 1)))
    assert caught.value.hint


class TestHeaders:
    def test_encoded_words_are_decoded(self, texts) -> None:
        head = (
            b"From: =?iso-8859-1?Q?Andr=E9?= Pirard <p@example.org>\r\n"
            b"To: =?UTF-8?B?zqDOsc+Azrg=?=\r\n =?UTF-8?B?zrHOvc6xz4M=?= <q@example.org>\r\n"
            b"Subject: =?utf-8*en?q?caf=C3=A9?= or =?utf-8?B?a?= or =?x-unknown?Q?plain?=\r\nMessage-ID: <1@x>\r\n"
        )
        assert texts(head + b"\r\nhi")[0].split("\n") == [
            "From: André Pirard <p@example.org>",
            "To: Παπθανασ <q@example.org>",
            "Subject: café or =?utf-8?B?a?= or plain",
            "hi",
        ]

    def test_raw_eight_bit_headers_are_utf8_or_windows_1252(self, texts) -> None:
        head = "From: Zoë <z@x>\r\n".encode() + "Subject: Größe\r\n".encode("windows-1252") + b"Message-ID: <1@x>\r\n"
        assert texts(head + b"\r\nhi")[0].startswith("From: Zoë <z@x>\nSubject: Größe\n")

    def test_a_folded_subject_is_one_line(self, texts) -> None:
        head = b"From: a@b\r\nSubject: the first half\r\n and the second\r\nMessage-ID: <1@x>\r\n"
        assert "Subject: the first half and the second\n" in texts(head + b"\r\nhi")[0]

    def test_an_endless_list_of_recipients_is_cut_and_shows_it(self, texts) -> None:
        head = b"From: a@b\r\nTo: " + b"somebody@example.org, " * 100_000 + b"\r\nMessage-ID: <1@x>\r\n"
        pages = texts(head + b"\r\nthe text")
        assert len(pages) <= 3
        assert re.search(r"\.\.\.\nthe text$", pages[-1])


class TestCharsets:
    @pytest.mark.parametrize(
        ("declared", "encoding"),
        [
            ("iso-8859-1", "iso-8859-1"),
            ("us-ascii", "utf-8"),
            ("us-ascii", "windows-1252"),
            ("utf-8", "windows-1252"),
            ("x-no-such-charset", "utf-8"),
            ("utf-8\x00", "utf-8"),
            ("punycode", "utf-8"),
            ("unicode_escape", "utf-8"),
            ("zip", "utf-8"),
        ],
    )
    def test_a_wrong_charset_costs_no_letter(self, texts, declared: str, encoding: str) -> None:
        head = HEAD + f'Content-Type: text/plain; charset="{declared}"\r\n\r\n'.encode()
        assert texts(head + "Größe: 5 µm – très bien".encode(encoding, "replace"))[0].endswith(
            "Größe: 5 µm – très bien".encode(encoding, "replace").decode(encoding)
        )

    def test_a_charset_that_is_declared_rightly_is_used(self, texts) -> None:
        head = HEAD + b"Content-Type: text/plain; charset=koi8-r\r\n\r\n"
        assert texts(head + "Привет, как дела".encode("koi8-r"))[0].endswith("Привет, как дела")

    def test_html_may_declare_its_charset_itself(self, texts) -> None:
        page = '<html><head><meta charset="iso-8859-7"></head><body>Καλημέρα</body></html>'
        message = HEAD + b"Content-Type: text/html\r\n\r\n" + page.encode("iso-8859-7")
        assert texts(message)[0].endswith("Καλημέρα")

    def test_broken_quoted_printable_and_base64_are_read_as_far_as_they_go(self, texts) -> None:
        quoted = b"Content-Transfer-Encoding: quoted-printable\r\n\r\ncaf=C3=A9 100=% =ZZ end="
        assert "café 100=% =ZZ end" in texts(HEAD + quoted)[0]
        base64 = b"Content-Transfer-Encoding: base64\r\n\r\nSGVsbG8g\r\n*** d29ybGQ"
        assert "Hello world" in texts(HEAD + base64)[0]


class TestWhichTextIsTheBody:
    def test_of_alternatives_the_plain_one(self, texts) -> None:
        message = letter("the plain one\n")
        message.add_alternative("<p>the HTML one</p>", subtype="html")
        assert texts(message)[0].endswith("Subject: Rent\nthe plain one")

    def test_html_where_the_plain_one_is_blank(self, texts) -> None:
        message = letter(" \n")
        message.add_alternative("<p>the HTML one</p>", subtype="html")
        assert texts(message)[0].endswith("Subject: Rent\nthe HTML one")

    def test_html_alone(self, texts) -> None:
        message = EmailMessage()
        message["From"], message["Message-ID"] = "a@b", "<1@x>"
        message.set_content("<h1>Offer</h1><p>for <b>you</b></p>", subtype="html")
        assert texts(message)[0].split("\n")[1:] == ["Offer", "for you"]

    def test_texts_one_after_the_other(self, texts) -> None:
        message = multipart(b"\r\nthe first", b"Content-Type: image/png\r\n\r\nx", b"\r\nthe second")
        assert texts(message)[0].endswith("the first\nthe second")

    def test_an_attached_text_is_not(self, texts) -> None:
        message = letter()
        message.add_attachment("attached notes", filename="notes.txt")
        assert "attached" not in texts(message)[0]

    def test_a_delivery_report_is(self, texts) -> None:
        report = b"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nAction: failed\r\n"
        assert texts(multipart(b"\r\nIt bounced.", report, kind=b"report"))[0].endswith(
            "It bounced.\nReporting-MTA: dns; x\nAction: failed"
        )

    @pytest.mark.parametrize("kind", ["multipart/mixed", "multipart/mixed; boundary=nowhere"])
    def test_a_multipart_without_its_boundaries_is_shown_as_it_stands(self, texts, kind: str) -> None:
        message = HEAD + f"Content-Type: {kind}\r\n\r\nthere is text here".encode()
        assert texts(message)[0].endswith("there is text here")

    def test_a_message_cut_short_keeps_what_came(self, texts) -> None:
        message = letter("the beginning\n")
        message.add_attachment(b"%PDF-1.7" * 100, maintype="application", subtype="pdf", filename="a.pdf")
        whole = bytes(message)
        assert texts(whole[: len(whole) - 300])[0].endswith("the beginning")

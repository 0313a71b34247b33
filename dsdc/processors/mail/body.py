"""A message's body laid out as a PDF, whose text layer is the body's exact text.

What the font has no glyph for, Chinese, Japanese and Korean among it, is drawn as a box; the text layer holds the
character all the same. Arabic letters are drawn in their isolated forms.
"""

from __future__ import annotations

import io
import tempfile
import threading
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import reportlab
from lxml import etree
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

from dsdc.errors import TooLarge
from dsdc.processors.mail import fonts
from dsdc.processors.mail.bidi import visual
from dsdc.processors.mail.contents import decoded_text, sort, text_of
from dsdc.processors.mail.message import Part, read

#: Two hundred full pages; beyond that it is a log, not a letter.
MAX_CHARS = 1_000_000

_LAYOUT = "1"  # raised by whoever changes what a body's pages look like
_FIELDS = ("From", "To", "Cc", "Date", "Subject")
_SIZE, _LEADING, _MARGIN = 10.0, 13.5, 56.0  # points
_VALUE_AT = 64.0  # of a header field, from the margin
_MEASURE = A4[0] - 2 * _MARGIN
_LINES_A_PAGE = int((A4[1] - 2 * _MARGIN) / _LEADING)
_MAX_EMPTY = 2  # empty lines in a row

#: ReportLab keeps its fonts for the whole process, and reads their files at a position that they carry.
_REPORTLAB = threading.RLock()


class _Line(NamedTuple):
    """A line of a page; `label` is that of the header field that begins in it; `left` in points from the margin."""

    text: str
    left: float = 0.0
    label: str = ""
    rule: bool = False


def engines() -> Mapping[str, str]:
    """What decides the bytes of a body's PDF besides the message."""
    return {
        "mail_layout": _LAYOUT,
        "mail_font": fonts.fingerprint(),
        "reportlab": reportlab.__version__,
        "libxml2": ".".join(map(str, etree.LIBXML_VERSION)),
    }


@contextmanager
def body_as_pdf(source: Path) -> Iterator[Path]:
    """A file with `body_pdf`, gone at the end."""
    with tempfile.NamedTemporaryFile(prefix="dsdc-mail-", suffix=".pdf") as file:
        file.write(body_pdf(source))
        file.flush()
        yield Path(file.name)


def body_pdf(source: Path) -> bytes:
    """The message's From, To, Cc, Date and Subject, and its text, on A4 pages; equal input gives equal bytes.

    Raises:
        CorruptFile: no message can be read from the file.
        TooLarge: a limit of the parser, or more than `MAX_CHARS` characters of text.
    """
    message = read(source)
    lines = [*_header(message), _Line("", rule=True), *_body(message)]
    out = io.BytesIO()
    with _REPORTLAB:
        canvas = Canvas(out, pagesize=A4, pageCompression=1, invariant=True)
        for start in range(0, len(lines), _LINES_A_PAGE):
            _draw(canvas, lines[start : start + _LINES_A_PAGE])
            canvas.showPage()
        canvas.save()
    return out.getvalue()


def lost_characters(source: Path) -> int:
    """How many NULs the header fields and the text hold: no page shows them, and no database takes them."""
    message = read(source)
    fields = (message.field(name) for name in _FIELDS)
    return sum(text.count("\0") for text in (*fields, *map(decoded_text, sort(message).texts)))


def _header(message: Part) -> Iterator[_Line]:
    for name in _FIELDS:
        value = " ".join(_shown(message.field(name)).split())
        for number, text in enumerate(_wrapped(value, _MEASURE - _VALUE_AT) if value else ()):
            yield _Line(text, _VALUE_AT, "" if number else f"{name}:")


def _body(message: Part) -> Iterator[_Line]:
    text = "\n\n".join(text_of(part) for part in sort(message).texts)
    if len(text) > MAX_CHARS:
        raise TooLarge(
            f"The e-mail's text has {len(text)} characters; the limit is {MAX_CHARS}.",
            hint="Print it to PDF and send that.",
        )
    empty = 0
    for line in _shown(text).strip("\n").split("\n"):
        empty = 0 if line else empty + 1
        if empty <= _MAX_EMPTY:
            yield from (_Line(piece) for piece in _wrapped(line, _MEASURE))


def _shown(text: str) -> str:
    """The text in lines of visible characters and blanks."""
    lines = (line.expandtabs() for line in unicodedata.normalize("NFC", text).splitlines())
    whole = "\n".join(lines)
    table = {ord(ch): _visible(ch) for ch in set(whole) if ch not in "\n "}
    return "\n".join(line.rstrip() for line in whole.translate(table).split("\n"))


def _visible(ch: str) -> str | None:
    """The character, a blank for any kind of blank, or None for what has no shape of its own."""
    code, category = ord(ch), unicodedata.category(ch)
    if category == "Zs":
        return " "
    if category in ("Cc", "Cf", "Cs") or code & 0xFFFE == 0xFFFE:
        return None
    joins_or_varies = code == 0x034F or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF
    return None if joins_or_varies else ch


def _wrapped(line: str, measure: float) -> Iterator[str]:
    """`line` in pieces no wider than `measure` points, broken at blanks, or within a word that is wider itself."""
    start, blank, used = 0, 0, 0.0
    for at, ch in enumerate(line):
        wide = fonts.width(ch, fonts.TEXT, _SIZE)
        used += wide
        if ch == " ":
            blank = at
        elif used > measure:
            at_blank = bool(line[start:blank].strip())
            cut = blank if at_blank else at
            yield line[start:cut]
            start = cut + at_blank
            used = sum(fonts.width(c, fonts.TEXT, _SIZE) for c in line[start : at + 1])
    yield line[start:].rstrip()


def _draw(canvas: Canvas, lines: list[_Line]) -> None:
    y = A4[1] - _MARGIN - _SIZE
    for line in lines:
        if line.rule:
            canvas.setLineWidth(0.7)
            canvas.line(_MARGIN, y + _LEADING / 2, A4[0] - _MARGIN, y + _LEADING / 2)
        for text, name, left in ((line.label, fonts.BOLD, 0.0), (line.text, fonts.TEXT, line.left)):
            if text:
                canvas.setFont(fonts.font(name).fontName, _SIZE)
                canvas.drawString(_MARGIN + left, y, visual(text))
        y -= _LEADING

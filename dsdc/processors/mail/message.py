"""Bytes -> the tree of a message's parts.

The standard library's parser does the work, under the old `compat32` policy: the newer one reads the grammar of every
header on access, takes quadratic time on long ones, and raises where a hostile one surprises it.
"""

from __future__ import annotations

import itertools
from email.message import Message
from email.parser import BytesFeedParser
from email.policy import Compat32
from pathlib import Path
from typing import Any

from dsdc.errors import CorruptFile, TooLarge
from dsdc.processors.mail.charset import sound, unfolded, words

#: A mail server takes 25 to 150 MB; the parser needs some five times the message's size in memory.
MAX_BYTES = 150 << 20
MAX_PARTS = 500
#: Multiparts within multiparts; mail programs make four.
MAX_DEPTH = 20
#: Of one header field; a few hundred recipients.
MAX_FIELD = 10_000

_HINT = "Save its attachments and send those, or print it to PDF."
_CHUNK = 1 << 16
_BOM = b"\xef\xbb\xbf"

#: Reports of mail programs about other messages: people read them as text.
_REPORTS = frozenset({"message/delivery-status", "message/disposition-notification", "message/feedback-report"})
#: What the parser raises on bytes that it did not expect.
_DAMAGE = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError)


class _Policy(Compat32):
    """Header values as one line of text, cut at `MAX_FIELD`, so that no header costs more than its share."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        return name, value if len(value) <= MAX_FIELD else f"{value[:MAX_FIELD]} ..."

    def header_fetch_parse(self, name: str, value: str) -> Any:  # noqa: ARG002 - the base class's signature
        return unfolded(value)


class Part(Message):
    """One part; messages within the message stay whole, as bytes, and are nobody's parts."""

    depth = 0

    def attach(self, payload: Any) -> None:
        payload.depth = self.depth + 1
        if payload.depth > MAX_DEPTH:
            raise TooLarge(f"The parts of the e-mail are nested more than {MAX_DEPTH} deep.", hint=_HINT)
        super().attach(payload)

    def get_content_type(self) -> str:
        found = super().get_content_type()
        return "text/plain" if found in _REPORTS else found

    def get_content_maintype(self) -> str:
        found = super().get_content_maintype()
        return "application" if found == "message" else found  # the parser would open a message and lose its bytes

    @property
    def parts(self) -> list[Part]:
        """The parts of a multipart, in order; none of one whose boundaries are missing."""
        found: Any = self.get_payload() if self.is_multipart() else []
        return list(found)

    @property
    def data(self) -> bytes:
        """The decoded bytes of a part that is no multipart; what cannot be decoded is left as it was sent."""
        try:
            found = self.get_payload(decode=True)
        except UnboundLocalError:  # how the library says that there is no payload
            return b""
        return found if isinstance(found, bytes) else b""

    @property
    def charset(self) -> str | None:
        """The declared character set of a text, in lower case, or None."""
        try:
            return self.get_content_charset()
        except _DAMAGE:
            return None

    @property
    def filename(self) -> str | None:
        """What the sender called the part, or None."""
        try:
            found = self.get_filename()
        except _DAMAGE:  # parameters that nobody could read
            return None
        return words(sound(found)).strip() or None if found else None

    def field(self, name: str) -> str:
        """A header field's text; several of one name are joined by commas; empty where there is none."""
        return ", ".join(words(str(value)) for value in self.get_all(name, []))


def read(source: Path) -> Part:
    """The message in a file.

    Raises:
        CorruptFile: the parser cannot make anything of it.
        TooLarge: more than `MAX_BYTES`, `MAX_PARTS` or `MAX_DEPTH`.
    """
    size = source.stat().st_size
    if size > MAX_BYTES:
        raise TooLarge(f"The e-mail has {size >> 20} MB; the limit is {MAX_BYTES >> 20} MB.", hint=_HINT)
    return parse(source.read_bytes())


def parse(data: bytes) -> Part:
    """The message in `data`; errors as for `read`."""
    policy: Any = _Policy()
    made = itertools.count(1)

    def part() -> Part:
        if next(made) > MAX_PARTS:
            raise TooLarge(f"The e-mail has more than {MAX_PARTS} parts.", hint=_HINT)
        return Part(policy=policy)

    # Not BytesParser: it turns line ends into plain newlines, and so changes the bytes of messages within.
    parser: BytesFeedParser[Part] = BytesFeedParser(part, policy=policy)
    text = data.removeprefix(_BOM)
    try:
        for start in range(0, len(text), _CHUNK):
            parser.feed(text[start : start + _CHUNK])
        return parser.close()
    except _DAMAGE as error:
        raise CorruptFile(f"The e-mail is damaged ({error}).", hint=_HINT) from error

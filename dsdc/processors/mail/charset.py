"""Bytes of messages -> text, whatever they claim to be."""

from __future__ import annotations

import re
import unicodedata
from email.errors import HeaderParseError
from email.header import decode_header

#: Python counts these among its text encodings; nobody sends mail in them, and some cost time without bound.
_REFUSED = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "mbcs", "oem"})
#: `=?charset?B?…?=` (RFC 2047), and those that follow it: only together do they hold whole characters.
_ENCODED_WORDS = re.compile(r"=\?[^?]+\?[bBqQ]\?[^?]*\?=(?:\s*=\?[^?]+\?[bBqQ]\?[^?]*\?=)*")


def decoded(data: bytes, charset: str | None) -> str:
    """`data` in its declared charset where that fits, else as UTF-8, else as Windows-1252; never fails."""
    for name in (charset, "utf-8"):
        if name and name.lower().replace("_", "-") not in _REFUSED:
            try:
                return data.decode(name)
            except (LookupError, ValueError):  # ValueError: bytes that do not fit, or a NUL in the name
                continue
    return data.decode("windows-1252", errors="replace")


def unfolded(raw: str) -> str:
    """A header value as parsed (8-bit bytes as lone surrogates) -> one line of text, encoded words as they are."""
    line = re.sub(r"[\r\n]+[ \t]*", " ", raw).strip()
    return line if line.isascii() else decoded(line.encode("ascii", "surrogateescape"), None)


def words(value: str) -> str:
    """An unfolded header value with its encoded words (RFC 2047) decoded; a broken word stays as it is."""
    return sound(_ENCODED_WORDS.sub(lambda match: _decoded_words(match.group()), value))


def _decoded_words(run: str) -> str:
    try:
        pieces = decode_header(run)
    except (HeaderParseError, ValueError):
        return run
    return "".join(
        decoded(text, (charset or "").partition("*")[0]) if isinstance(text, bytes) else text
        for text, charset in pieces
    )


def sound(text: str) -> str:
    """`text` with lone surrogates, which no file and no database takes, replaced."""
    return "".join("\ufffd" if unicodedata.category(ch) == "Cs" else ch for ch in text)

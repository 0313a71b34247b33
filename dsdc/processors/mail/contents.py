"""Which parts of a message are its body, and which are attachments.

=============================================  =================================================================
part                                           is
=============================================  =================================================================
text, not marked as an attachment              body
multipart/alternative                          the first of its forms that has plain text, else HTML, is the body;
                                               attachments within the others are attachments still
image that the HTML shows (`cid:`)             part of the body, and left out: logos would flood the store
signature, resource fork, version note         envelope, and left out
message/rfc822                                 an attachment: the bytes of the inner message
everything else                                an attachment
=============================================  =================================================================
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from dsdc.errors import TooLarge
from dsdc.processors.contract import Attachment
from dsdc.processors.mail.charset import decoded
from dsdc.processors.mail.html import html_text
from dsdc.processors.mail.message import Part, parse

#: Messages within messages within messages; each level stores all deeper ones again.
MAX_NESTED = 10
MAX_TEXT_BYTES = 32 << 20
MAX_NAME = 255
_NAME_END = 16

_HINT = "Save its attachments and send those, or print it to PDF."
_ENVELOPE = frozenset(
    {
        "application/pgp-encrypted",
        "application/pgp-signature",
        "application/pkcs7-signature",
        "application/x-pkcs7-signature",
        "application/applefile",
    }
)
_MESSAGES = frozenset({"message/rfc822", "message/global"})
_CID = re.compile(r"cid:([^\s\"'<>)&]+)", re.IGNORECASE)
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s{0,9}=\s{0,9}[\"']?([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_META_WITHIN = 2048


@dataclass
class Contents:
    """A message's body texts and attachments, each in order."""

    texts: list[Part] = field(default_factory=list)
    attachments: list[Part] = field(default_factory=list)

    def extend(self, other: Contents) -> None:
        self.texts += other.texts
        self.attachments += other.attachments


def sort(message: Part) -> Contents:
    """The message's parts by what they are; see the table above."""
    found = _sorted(message)
    shown = _shown_images(message)
    found.attachments = [part for part in found.attachments if not _is_shown(part, shown)]
    return found


def _sorted(part: Part) -> Contents:
    if part.get_content_type() == "multipart/alternative" and part.parts:
        return _best_of([_sorted(form) for form in part.parts])
    found = Contents()
    for inner in part.parts:
        found.extend(_sorted(inner))
    if not part.is_multipart() and part.get_content_type() not in _ENVELOPE:
        (found.texts if _is_text(part) else found.attachments).append(part)
    return found


def _best_of(forms: list[Contents]) -> Contents:
    attached = [part for form in forms for part in form.attachments]
    for kind in ("text/plain", "text/html"):
        for form in forms:
            if any(part.get_content_type() == kind and text_of(part).strip() for part in form.texts):
                return Contents(form.texts, attached)
    return Contents(forms[0].texts, attached)


def _is_text(part: Part) -> bool:
    """Text that a mail program shows; a multipart without boundaries is shown as it stands."""
    if part.get_content_disposition() == "attachment":
        return False
    kind = part.get_content_type()
    if kind in ("text/plain", "text/html") or part.get_content_maintype() == "multipart":
        return True
    return part.get_content_maintype() == "text" and part.filename is None


def text_of(part: Part) -> str:
    """The part's text; HTML as it reads.

    Raises:
        TooLarge: more than `MAX_TEXT_BYTES`.
    """
    text = decoded_text(part)
    return html_text(text) if part.get_content_type() == "text/html" else text


def decoded_text(part: Part) -> str:
    """The part's text as it was sent; errors as for `text_of`."""
    data = part.data
    if len(data) > MAX_TEXT_BYTES:
        raise TooLarge(
            f"The e-mail's text has {len(data) >> 20} MB; the limit is {MAX_TEXT_BYTES >> 20} MB.", hint=_HINT
        )
    charset = part.charset
    if charset is None and part.get_content_type() == "text/html":
        meta = _META_CHARSET.search(data[:_META_WITHIN])
        charset = meta[1].decode("ascii") if meta else None
    return decoded(data, charset)


def _shown_images(message: Part) -> set[str]:
    """Content-IDs that any HTML of the message refers to."""
    pages = [part for part in message.walk() if part.get_content_type() == "text/html" and not part.is_multipart()]
    return {unquote(found) for page in pages for found in _CID.findall(decoded_text(page))}


def _is_shown(part: Part, shown: set[str]) -> bool:
    return part.get_content_maintype() == "image" and part.field("content-id").strip().strip("<>") in shown


def attachments(message: Part) -> Iterator[Attachment]:
    """The message's attachments in order, one at a time.

    Raises:
        TooLarge: messages within messages, more than `MAX_NESTED` deep.
    """
    for number, part in enumerate(sort(message).attachments, start=1):
        data = part.data
        if part.get_content_type() in _MESSAGES:
            inner = parse(data)
            _check_nesting(inner, 1)
            yield Attachment(_message_name(part, inner, number), data)
        else:
            yield Attachment(_name(part, number), data)


def _check_nesting(message: Part, depth: int) -> None:
    if depth > MAX_NESTED:
        raise TooLarge(f"The e-mail holds e-mails within e-mails, more than {MAX_NESTED} deep.", hint=_HINT)
    for part in message.walk():
        if part.get_content_type() in _MESSAGES:
            _check_nesting(parse(part.data), depth + 1)


def _message_name(part: Part, inner: Part, number: int) -> str:
    stem = part.filename or inner.field("subject") or f"attachment-{number}"
    return _short(stem if stem.endswith(".eml") else f"{stem}.eml")


def _name(part: Part, number: int) -> str:
    extension = mimetypes.MimeTypes().guess_extension(part.get_content_type()) or ""
    return _short(part.filename or f"attachment-{number}{extension}")


def _short(name: str) -> str:
    """At most `MAX_NAME` characters; the end, which tells the kind of file, is kept."""
    end = name[-_NAME_END:]
    return name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - len(end) - 1]}…{end}"

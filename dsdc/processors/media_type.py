"""What a file is, by its content: names and declared types are claims of whoever sent it."""

from __future__ import annotations

import re
from collections.abc import Callable

from dsdc.errors import EmptyFile, UnsupportedType

#: Bytes that `detect` wants to see; the PDF header may stand anywhere in the first 1,024.
HEAD_BYTES = 4096

PDF = "application/pdf"
TIFF = "image/tiff"
PNG = "image/png"
JPEG = "image/jpeg"
WEBP = "image/webp"
BMP = "image/bmp"
EMAIL = "message/rfc822"
SUPPORTED = frozenset({PDF, TIFF, PNG, JPEG, WEBP, BMP, EMAIL})

_EXPORT_PDF = "Export it as PDF and send that."
_EXPORT_IMAGE = "Save it as PDF, TIFF, PNG or JPEG and send that."
_UNPACK = "Unpack it and send the files inside."

#: Sizes of the header that follows a bitmap's first 14 bytes; "BM" alone would match any text beginning so.
_BMP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}
_TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00\x08\x00", b"MM\x00+\x00\x08")

#: What a header field begins with (RFC 5322, 2.2).
_FIELD = re.compile(rb"([!-9;-~]{1,76}):")
#: Fields that programs write; a memo that people type begins with From, To, Subject and Date, and with none of these.
_MACHINE_FIELDS = {
    *(b"mime-version", b"content-type", b"message-id", b"received", b"return-path", b"delivered-to", b"received-spf"),
    *(b"dkim-signature", b"arc-seal", b"arc-message-signature", b"arc-authentication-results"),
    b"authentication-results",
}
_TYPED_FIELDS = {
    *(b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc", b"subject", b"date", b"in-reply-to", b"references"),
    b"content-transfer-encoding",
}
#: The saved header of a web answer has a date and a content type, but none of these.
_POSTAL_FIELDS = {
    *(b"from", b"sender", b"to", b"cc", b"reply-to", b"message-id", b"received", b"return-path", b"delivered-to"),
    *(b"arc-seal", b"dkim-signature", b"received-spf"),
}
_SEVERAL = 3


def _is_bmp(head: bytes) -> bool:
    return head[:2] == b"BM" and len(head) >= 18 and int.from_bytes(head[14:18], "little") in _BMP_HEADERS


def _is_webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _is_tiff(head: bytes) -> bool:
    return head.startswith(_TIFF_MAGIC) and head[8:10] != b"CR"  # Canon's raw photographs borrow the TIFF header


def _has_pdf_header(head: bytes) -> bool:
    return re.search(rb"%PDF-\d", head[:1024]) is not None


_IMAGES: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
    (TIFF, _is_tiff),
    (PNG, lambda head: head.startswith(b"\x89PNG\r\n\x1a\n")),
    (JPEG, lambda head: head.startswith(b"\xff\xd8\xff")),
    (WEBP, _is_webp),
    (BMP, _is_bmp),
)

#: (first bytes, what the file is, what to do)
_KNOWN: tuple[tuple[bytes, str, str], ...] = (
    (b"PK\x03\x04", "a ZIP archive or an Office document", "Unpack it, or export the document as PDF."),
    (b"PK\x05\x06", "an empty ZIP archive", _UNPACK),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old Office document or an Outlook message (.msg)",
        "Export a document as PDF, save a message as .eml, and send that.",
    ),
    (b"{\\rtf", "a rich text document", _EXPORT_PDF),
    (b"%!PS", "PostScript or EPS", "Distil it to PDF and send that."),
    (b"\xc5\xd0\xd3\xc6", "EPS", "Distil it to PDF and send that."),
    (b"GIF8", "a GIF image", _EXPORT_IMAGE),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000 image", _EXPORT_IMAGE),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 image", _EXPORT_IMAGE),
    (b"\xff\x0a", "a JPEG XL image", _EXPORT_IMAGE),
    (b"\x97JB2\r\n\x1a\n", "a JBIG2 image", _EXPORT_IMAGE),
    (b"AT&TFORM", "a DjVu document", _EXPORT_PDF),
    (b"8BPS", "a Photoshop image", _EXPORT_IMAGE),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\x7fELF", "a program", "Send documents only."),
    (b"MZ", "a program", "Send documents only."),
)


def _fields(head: bytes) -> list[bytes]:
    """Names of the header fields that a file begins with, in lower case, up to the first line that is none."""
    found: list[bytes] = []
    for line in head.removeprefix(b"\xef\xbb\xbf").splitlines():
        if found and line[:1] in (b" ", b"\t") and line.strip():
            continue  # the line before goes on here
        field = _FIELD.match(line)
        if field is None:
            break
        found.append(field[1].lower())
    return found


def _is_email(head: bytes) -> bool:
    """Several header fields of a message, at least one of them from a program, at least one of them about post."""
    fields = [name for name in _fields(head) if name in _MACHINE_FIELDS | _TYPED_FIELDS]
    return len(fields) >= _SEVERAL and not _MACHINE_FIELDS.isdisjoint(fields) and not _POSTAL_FIELDS.isdisjoint(fields)


def _is_mailbox(head: bytes) -> bool:
    """An mbox: a line "From sender date" before each message."""
    return head.startswith(b"From ") and _is_email(head.partition(b"\n")[2])


def detect(head: bytes) -> str:
    """The media type of a file that begins with `head` (its first `HEAD_BYTES` bytes, or all of it).

    The first signature decides, so a file that is an image and a PDF at once is an image, and a message that holds
    a PDF is a message.

    Raises:
        EmptyFile: no bytes at all.
        UnsupportedType: anything that cannot be rendered; the message says what it looks like.
    """
    if not head:
        raise EmptyFile(hint="Send the file again; the upload or the copy may have been cut short.")
    for media_type, matches in _IMAGES:
        if matches(head):
            return media_type
    if _is_email(head):
        return EMAIL
    known = _known(head)
    if known is None and _has_pdf_header(head):
        return PDF
    found, hint = known or _guess(head)
    raise UnsupportedType(
        f"The file is {found}, which is not a supported type (PDF, TIFF, PNG, JPEG, WebP, BMP, e-mail).", hint=hint
    )


def _known(head: bytes) -> tuple[str, str] | None:
    for magic, found, hint in _KNOWN:
        if head.startswith(magic):
            return found, hint
    if head[4:8] == b"ftyp":
        return "a HEIC/AVIF photograph or a film", _EXPORT_IMAGE
    return _known_markup(head)


def _known_markup(head: bytes) -> tuple[str, str] | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<svg", b"<?xml", b"<!doctype svg")):
        return ("an SVG drawing", _EXPORT_IMAGE) if b"<svg" in text else ("XML", _EXPORT_PDF)
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "a web page (HTML)", "Print it to PDF and send that."
    return None


def _guess(head: bytes) -> tuple[str, str]:
    if not head.strip(b"\x00"):
        return "nothing but zero bytes", "Send the file again; the copy may have been cut short."
    if _is_mailbox(head):
        return "a mailbox (mbox) with any number of e-mails", "Save each message as .eml and send those."
    if len(_TYPED_FIELDS.intersection(_fields(head))) >= _SEVERAL:
        return (
            "plain text that begins like an e-mail, without the header fields that mail programs write",
            "Save the message as .eml with its whole header, or print it to PDF.",
        )
    if _is_text(head):
        return "plain text", _EXPORT_PDF
    return "of an unknown binary type", "Check that it opens where it came from, and export it as PDF."


def _is_text(head: bytes) -> bool:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True
    control = sum(byte < 32 and byte not in b"\t\n\f\r\x1b" for byte in head)
    return control == 0

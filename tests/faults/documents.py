"""Files made byte by byte: good ones to damage, and the parts of hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def noise(width: int, height: int, seed: int = 7) -> Image.Image:
    """A grey picture that no codec makes small."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8))


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def fax(pages: int, size: tuple[int, int] = (64, 100)) -> bytes:
    """A TIFF of G4 frames; frame k is black up to row k."""
    frames = []
    for number in range(1, pages + 1):
        frame = Image.new("1", size, 1)
        frame.paste(0, (0, 0, size[0], number))
        frames.append(frame)
    return saved(frames[0], "TIFF", save_all=True, append_images=frames[1:], compression="group4")


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *chunks: bytes, data: bytes | None = None) -> bytes:
    """A grey PNG with `chunks` before its pixels; `data` is what its IDAT holds, white pixels if none is given."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\xff" * width) * height) if data is None else data
    parts = [png_chunk(b"IHDR", header), *chunks, png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(parts)


def tiff(entries: Sequence[tuple[int, int, int, int]], data: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF: one directory of (tag, type, count, value), `data` after it, and a link to the next one."""
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", following) + data


def pdf(objects: Mapping[int, bytes], *, trailer: bytes = b"/Root 1 0 R", table: bool = True) -> bytes:
    """A PDF of these objects in their order; without `table`, readers have to look for them."""
    out, offsets = b"%PDF-1.7\n", {}
    for number, body in objects.items():
        offsets[number] = len(out)
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    size = max(objects) + 1
    end = b"trailer\n<</Size %d%s>>\n" % (size, trailer)
    if not table:
        return out + end + b"%%EOF\n"
    rows = (b"%010d 00000 n \n" % offsets[n] if n in offsets else b"0000000000 65535 f \n" for n in range(size))
    return out + b"xref\n0 %d\n" % size + b"".join(rows) + end + b"startxref\n%d\n%%%%EOF\n" % len(out)


def stream(data: bytes, entries: bytes = b"") -> bytes:
    """A stream object's body."""
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (entries, len(data), data)


def deflated(data: bytes, entries: bytes = b"") -> bytes:
    return stream(zlib.compress(data, 9), entries + b"/Filter/FlateDecode")


FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def page_objects(contents: Sequence[bytes], *, box: bytes = b"0 0 200 200", page: bytes = b"") -> dict[int, bytes]:
    """Objects of a PDF with a page for each content stream's body: catalogue 1, tree 2, font 3, pages 10, 12, ...

    Args:
        contents: bodies of the content streams, objects 11, 13, ...
        box: MediaBox of all pages.
        page: further entries of every page; `/F` is the font and stands in its resources.
    """
    kids = b" ".join(b"%d 0 R" % (10 + 2 * n) for n in range(len(contents)))
    objects = {
        1: b"<</Type/Catalog/Pages 2 0 R>>",
        2: b"<</Type/Pages/Kids[%s]/Count %d/MediaBox[%s]/Resources<</Font<</F 3 0 R>>>>>>"
        % (kids, len(contents), box),
        3: FONT,
    }
    for number, body in enumerate(contents):
        at = 10 + 2 * number
        objects[at] = b"<</Type/Page/Parent 2 0 R/Contents %d 0 R%s>>" % (at + 1, page)
        objects[at + 1] = body
    return objects


def written(text: bytes, size: int = 18) -> bytes:
    """A content stream's body that writes one line."""
    return stream(b"BT /F %d Tf 20 100 Td (%s) Tj ET" % (size, text))


def numbered_pdf(pages: int) -> bytes:
    """A PDF whose pages say their number; its page tree comes first, its pages in order."""
    return pdf(page_objects([written(b"Page number %d" % n) for n in range(1, pages + 1)]))


def email(body: bytes = b"Hello\r\n", content_type: bytes = b"text/plain; charset=utf-8", *fields: bytes) -> bytes:
    """A message as a mail program sends it."""
    head = [
        b"Message-ID: <1@example.org>",
        b"Date: Mon, 05 Jan 2026 10:00:00 +0000",
        b"From: Ann <ann@example.org>",
        b"To: Bob <bob@example.org>",
        b"Subject: A message",
        b"MIME-Version: 1.0",
        b"Content-Type: " + content_type,
        *fields,
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body

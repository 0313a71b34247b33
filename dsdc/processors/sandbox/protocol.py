"""What parent and child say to each other: a JSON header, and bytes after it where there are any.

Nothing is pickled: whoever took over a child by a hostile document could otherwise run code in the parent.
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Mapping
from typing import Any

from dsdc import errors
from dsdc.errors import DsdcError, ParserDied, TookTooLong

_SIZES = struct.Struct("!IQ")  # length of the header, length of the bytes that follow it
_MAX_HEADER = 64 << 20
_CHUNK = 1 << 20

Message = tuple[dict[str, Any], bytes]


def write(descriptor: int, header: Mapping[str, Any], data: bytes = b"") -> None:
    """Send one message.

    Raises:
        BrokenPipeError: nobody listens any more.
    """
    head = json.dumps(header).encode()
    _write_all(descriptor, _SIZES.pack(len(head), len(data)) + head)
    _write_all(descriptor, data)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def read(descriptor: int, *, timeout_s: float | None = None, max_bytes: int = 1 << 32) -> Message:
    """Receive one message.

    Raises:
        EOFError: the other side is gone.
        TookTooLong: not whole within `timeout_s`.
        ParserDied: what came is no message; it cannot be talked to any further.
    """
    until = None if timeout_s is None else time.monotonic() + timeout_s
    head_size, data_size = _SIZES.unpack(_read_exactly(descriptor, _SIZES.size, until))
    if head_size > _MAX_HEADER or data_size > max_bytes:
        raise ParserDied("The parser answered with more than can be true.")
    header = json.loads(_read_exactly(descriptor, head_size, until))
    return header, _read_exactly(descriptor, data_size, until)


def _read_exactly(descriptor: int, size: int, until: float | None) -> bytes:
    pieces: list[bytes] = []
    while size:
        wait = None if until is None else max(until - time.monotonic(), 0)
        if not select.select([descriptor], [], [], wait)[0]:
            raise TookTooLong
        piece = os.read(descriptor, min(size, _CHUNK))
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def describe(error: DsdcError) -> dict[str, Any]:
    """An error as a header can carry it."""
    return {"error": type(error).__name__, "message": error.message, "hint": error.hint}


def revive(header: Mapping[str, Any]) -> DsdcError:
    """The error that `describe` was given; only errors of the platform's own tree come to life."""
    kind = getattr(errors, str(header["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, DsdcError)):
        kind = ParserDied
    return kind(str(header["message"]), hint=header["hint"] and str(header["hint"]))

"""The parts of a multipart body, one after the other as they arrive: only the one at hand takes room on disk."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

_MAX_TEXT = 1024  # bytes of a field that is no file
_IN_MEMORY = 64 * 1024  # smaller files need no place on disk while they are looked at


def _spool() -> BinaryIO:
    return cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY))


@dataclass
class Part:
    """One part: `filename` is None for a field that is no file. `sha256` and `size` are of all that came.

    Of a file over `max_bytes` nothing is kept, and its `file` is empty.
    """

    name: str
    filename: str | None
    max_bytes: int
    size: int = 0
    file: BinaryIO = field(default_factory=_spool)

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def is_excess(self) -> bool:
        return self.size > self.max_bytes

    def text(self) -> str:
        self.file.seek(0)
        return self.file.read().decode("utf-8", "replace")

    def head(self, size: int) -> bytes:
        self.file.seek(0)
        return self.file.read(size)

    def take(self, data: bytes | bytearray) -> None:
        """Blocks: a part on disk."""
        self._digest.update(data)
        self.size += len(data)
        if not self.is_excess:
            self.file.write(data)
        elif self.file.tell():
            self.file.seek(0)
            self.file.truncate()


class _Reader:
    """Turns pieces of a body into parts, their data, and their ends."""

    def __init__(self, boundary: bytes, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._events: list[Part | bytearray | None] = []
        self._complete = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_begin,
                "on_part_data": lambda data, start, end: self._on_data(data[start:end]),
                "on_part_end": lambda: self._events.append(None),
                "on_end": self._on_end,
            },
        )

    def feed(self, chunk: bytes) -> Iterator[Part | bytearray | None]:
        """What this piece brings; None is the end of a part."""
        self._parser.write(chunk)
        events, self._events = self._events, []
        yield from events

    def finish(self) -> None:
        if not self._complete:
            raise HTTPException(400, "The multipart body breaks off before its end.")

    def _on_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _on_begin(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._disposition = b""
        if b"name" not in options:
            raise HTTPException(400, "A part of the multipart body has no name.")
        filename = options.get(b"filename")
        limit = _MAX_TEXT if filename is None else self._max_bytes
        self._events.append(Part(_text(options[b"name"]), None if filename is None else _text(filename), limit))

    def _on_data(self, data: bytes) -> None:
        if self._events and isinstance(last := self._events[-1], bytearray):
            last.extend(data)
        else:
            self._events.append(bytearray(data))

    def _on_end(self) -> None:
        self._complete = True


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise HTTPException(415, "Send the files as multipart/form-data.")
    if b"boundary" not in options:
        raise HTTPException(400, "The multipart body has no boundary.")
    return options[b"boundary"]


async def parts(request: Request, *, max_bytes: int) -> AsyncGenerator[Part, None]:
    """Each part once it is complete; its file is gone when the next one is asked for.

    Raises:
        HTTPException: 400 for a malformed body, 415 for another content type, and what limits the body raises.
    """
    reader, part = _reader(_boundary(request), max_bytes), None
    try:
        async for chunk in request.stream():
            for event in reader.feed(chunk):
                if isinstance(event, Part):
                    part = event
                elif part is not None and event is not None:
                    await run_in_threadpool(part.take, event)
                elif part is not None:
                    yield _whole(part)
                    part.file.close()
        reader.finish()
    except FormParserError:
        raise HTTPException(400, "The multipart body is malformed.") from None
    except ClientDisconnect:
        raise HTTPException(400, "The client left before the body was complete.") from None
    finally:
        if part is not None:
            part.file.close()


def _reader(boundary: bytes, max_bytes: int) -> _Reader:
    try:
        return _Reader(boundary, max_bytes)
    except FormParserError:
        raise HTTPException(400, "The multipart body has no usable boundary.") from None


def _whole(part: Part) -> Part:
    if part.filename is None and part.is_excess:
        raise HTTPException(400, f"A field is longer than {_MAX_TEXT} bytes.")
    return part

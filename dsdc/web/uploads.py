"""One uploaded file, taken from a multipart body as it arrives; on disk, not in memory."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from dsdc.errors import EmptyFile, TooLarge

#: What multipart framing and the other fields may take beside the file itself.
FRAMING = 16 * 1024
PART_FRAMING = 1024  # of each further file
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_TRUE, _FALSE = {"true", "1", "yes", "on"}, {"false", "0", "no", "off"}


@dataclass(frozen=True)
class Upload:
    """A file as it came: `name` is what the sender calls it, made fit for a log and a database."""

    name: str
    size: int
    file: BinaryIO
    fields: dict[str, str]

    def read(self) -> bytes:
        """All of it; from disk, so call it in a worker thread."""
        self.file.seek(0)
        return self.file.read()

    def head(self, size: int) -> bytes:
        self.file.seek(0)
        return self.file.read(size)

    def sha256(self) -> str:
        """Of the file's bytes; from disk, so call it in a worker thread."""
        self.file.seek(0)
        digest = hashlib.sha256()
        while chunk := self.file.read(1 << 20):
            digest.update(chunk)
        return digest.hexdigest()

    def flag(self, name: str, default: bool) -> bool:
        """A form field that says yes or no."""
        return as_flag(name, self.fields.get(name), default)


def as_flag(name: str, given: str | None, default: bool) -> bool:
    """What a form field says, where it is given."""
    if given is None:
        return default
    if given.lower() not in _TRUE | _FALSE:
        raise HTTPException(422, f"The field {name} must be true or false.")
    return given.lower() in _TRUE


def clean_name(name: str | None) -> str:
    """The last part of a path, without characters that hide or forge; at most 200 of them."""
    text = unicodedata.normalize("NFC", (name or "").replace("\\", "/").rsplit("/", 1)[-1])
    return _UNPRINTABLE.sub("\ufffd", text).strip()[:200] or "unnamed"


@asynccontextmanager
async def received(request: Request, *, field: str, max_bytes: int) -> AsyncIterator[Upload]:
    """The file in the multipart field `field`; closed, and its disk space free, at the end.

    Raises:
        HTTPException: 400 for a malformed body or one with other files, 415 for another content type.
        TooLarge: the file has more than `max_bytes` bytes.
        EmptyFile: it has none.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise HTTPException(415, f"Send the file as multipart/form-data, in the field {field}.")
    async with request.form(max_files=1, max_fields=4, max_part_size=1024) as form:
        upload = form.get(field)
        if not isinstance(upload, UploadFile):
            raise HTTPException(422, f"The field {field} with the file is missing.")
        size = upload.size or 0
        if size > max_bytes:
            raise TooLarge(f"The file has {size:,} bytes; the limit is {max_bytes:,}.")
        if size == 0:
            raise EmptyFile
        yield Upload(clean_name(upload.filename), size, upload.file, _texts(form))


def _texts(form: FormData) -> dict[str, str]:
    return {name: value for name, value in form.items() if isinstance(value, str)}


def multipart_body(field: str, fields: dict[str, Any], *, many: bool = False) -> dict[str, Any]:
    """OpenAPI's description of such a body; with `many`, the field holds a file each time that it comes."""
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    properties = {field: {"type": "array", "minItems": 1, "items": file} if many else file} | fields
    schema = {"type": "object", "required": [field], "properties": properties}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}

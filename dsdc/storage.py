"""Content-addressed bytes: what goes in is found again by its SHA-256, and never changes.

Two areas, `raw` (documents as they came) and `processed` (page images). Only relative keys such as
`raw/ab/cd/abcd…` enter the database; the place itself is a setting (folder, or any fsspec URL such as s3://…).
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import fsspec

from dsdc.errors import BytesMissing, HashMismatch, StorageError
from dsdc.settings import Settings, secrets

Area = Literal["raw", "processed"]
CHUNK = 1 << 20


@dataclass(frozen=True)
class Stored:
    """Bytes in the store: `key` for the database, their hash and size."""

    key: str
    sha256: str
    size: int


def key_of(area: Area, sha256: str) -> str:
    """`area/ab/cd/<sha256>`; two levels keep folders small at a million files."""
    return f"{area}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a renamed file may otherwise be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Storage(Protocol):
    """Where bytes live. `put` returns once they are durable."""

    def put(self, area: Area, source: BinaryIO) -> Stored: ...
    def put_bytes(self, area: Area, data: bytes) -> Stored: ...
    def read(self, key: str) -> bytes: ...
    def exists(self, key: str) -> bool: ...
    def local(self, key: str) -> AbstractContextManager[Path]: ...
    def keys(self, area: Area) -> Iterator[str]: ...
    def delete(self, key: str) -> None: ...


class FolderStorage:
    """The store as folders of this machine; `durable=False` is for scratch that nobody needs after a crash."""

    def __init__(self, raw: Path, processed: Path, *, durable: bool = True) -> None:
        self._areas: dict[str, Path] = {"raw": raw, "processed": processed}
        self._durable = durable

    def _path(self, key: str) -> Path:
        area, _, rest = key.partition("/")
        return self._areas[area] / rest

    def put_bytes(self, area: Area, data: bytes) -> Stored:
        import io

        return self.put(area, io.BytesIO(data))

    def put(self, area: Area, source: BinaryIO) -> Stored:
        """Copy and hash in one pass, fsync, rename into place, fsync the folder."""
        root = self._areas[area]
        incoming = root / ".incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        digest, size = hashlib.sha256(), 0
        descriptor, name = tempfile.mkstemp(dir=incoming)
        draft = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as target:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
                    size += len(chunk)
                target.flush()
                if self._durable:
                    os.fsync(target.fileno())
            stored = Stored(key_of(area, digest.hexdigest()), digest.hexdigest(), size)
            self._publish(draft, self._path(stored.key))
        except OSError as error:
            raise StorageError(f"Cannot write to {root}: {error.strerror}.", hint="Free space or mend it.") from error
        finally:
            draft.unlink(missing_ok=True)
        return stored

    def _publish(self, draft: Path, target: Path) -> None:
        if target.exists():
            return  # the same bytes are there already: content addressing makes the rename unnecessary
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.chmod(0o644)
        draft.replace(target)
        if not self._durable:
            return
        for folder in (target.parent, target.parent.parent):
            sync_folder(folder)

    def read(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise BytesMissing(f"{key} is not in the store.", hint="Run dsdc fsck.") from None

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """A path of this machine with the bytes, for parsers that need a file."""
        path = self._path(key)
        if not path.is_file():
            raise BytesMissing(f"{key} is not in the store.", hint="Run dsdc fsck.")
        yield path

    def keys(self, area: Area) -> Iterator[str]:
        root = self._areas[area]
        for path in root.glob("??/??/*"):
            yield f"{area}/{path.relative_to(root).as_posix()}"

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)


class ObjectStorage:
    """The store as objects behind an fsspec URL, S3 for example. A finished upload is atomic there."""

    def __init__(self, url: str, endpoint: str = "") -> None:
        options = {}
        if url.startswith("s3://"):
            options = {"key": secrets().value("s3_access"), "secret": secrets().value("s3_secret")}
            if endpoint:
                options["client_kwargs"] = {"endpoint_url": endpoint}  # type: ignore[assignment]
        self._fs, self._root = fsspec.core.url_to_fs(url, **options)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def put_bytes(self, area: Area, data: bytes) -> Stored:
        stored = Stored(key_of(area, hashlib.sha256(data).hexdigest()), hashlib.sha256(data).hexdigest(), len(data))
        if not self.exists(stored.key):
            self._fs.makedirs(self._path(stored.key).rsplit("/", 1)[0], exist_ok=True)
            self._fs.pipe_file(self._path(stored.key), data)
        return stored

    def put(self, area: Area, source: BinaryIO) -> Stored:
        # Spooled to disk first: the name is the hash, which is known only at the end.
        with tempfile.TemporaryFile() as spool:
            digest, size = hashlib.sha256(), 0
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                spool.write(chunk)
                size += len(chunk)
            stored = Stored(key_of(area, digest.hexdigest()), digest.hexdigest(), size)
            if not self.exists(stored.key):
                spool.seek(0)
                self._fs.makedirs(self._path(stored.key).rsplit("/", 1)[0], exist_ok=True)
                with self._fs.open(self._path(stored.key), "wb") as target:
                    while chunk := spool.read(CHUNK):
                        target.write(chunk)
        return stored

    def read(self, key: str) -> bytes:
        try:
            return bytes(self._fs.cat_file(self._path(key)))
        except FileNotFoundError:
            raise BytesMissing(f"{key} is not in the store.", hint="Run dsdc fsck.") from None

    def exists(self, key: str) -> bool:
        return bool(self._fs.exists(self._path(key)))

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "document"
            path.write_bytes(self.read(key))
            yield path

    def keys(self, area: Area) -> Iterator[str]:
        prefix = self._path(area)
        for path in self._fs.find(prefix):
            yield f"{area}/{path.removeprefix(prefix).lstrip('/')}"

    def delete(self, key: str) -> None:
        if self.exists(key):
            self._fs.rm_file(self._path(key))


def verify(store: Storage, key: str) -> None:
    """Raise HashMismatch unless the bytes under `key` have the hash that names them."""
    found = hashlib.sha256(store.read(key)).hexdigest()
    if found != key.rsplit("/", 1)[-1]:
        raise HashMismatch(f"{key} now has SHA-256 {found}.", hint="Restore it from a backup; see dsdc fsck.")


def open_storage(config: Settings) -> Storage:
    """The store that the settings name."""
    if config.storage.url:
        return ObjectStorage(config.storage.url, config.storage.endpoint)
    return FolderStorage(config.path("raw"), config.path("processed"))

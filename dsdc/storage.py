"""Content-addressed bytes: what goes in is found again by its SHA-256, and never changes.

Three areas: `raw` (documents as they came), `processed` (page images), and `uploads` (documents of batches, until they
are answered). Only relative keys such as `raw/ab/cd/abcd…` enter the database; the place itself is a setting (folder,
or any fsspec URL such as s3://…).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import fsspec

from dsdc.errors import BytesMissing, HashMismatch, StorageError
from dsdc.failpoints import reach
from dsdc.settings import Settings, secrets

Area = Literal["raw", "processed", "uploads"]
AREAS: tuple[Area, ...] = ("raw", "processed", "uploads")
CHUNK = 1 << 20
DRAFTS = ".incoming"  # bytes on their way in; whoever writes there removes what he began, unless he is killed


@dataclass(frozen=True)
class Stored:
    """Bytes in the store: `key` for the database, their hash and size."""

    key: str
    sha256: str
    size: int


#: Looks at what was copied before it gets its name; whatever it raises leaves the store as it was.
Check = Callable[[Stored], None]


def key_of(area: str, sha256: str) -> str:
    """`area/ab/cd/<sha256>`; two levels keep folders small at a million files."""
    return f"{area}/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def is_key(key: str) -> bool:
    """Whether it is a name that the store gives."""
    area, sha256 = key.split("/", 1)[0], key.rsplit("/", 1)[-1]
    return area in AREAS and bool(re.fullmatch("[0-9a-f]{64}", sha256)) and key == key_of(area, sha256)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a renamed file may otherwise be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Unreadable(Exception):
    """The source of a copy broke off: the file's fault, not the store's."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


@contextmanager
def writing(place: object, faults: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Within, any of `faults` becomes a StorageError about `place`.

    Errors of the source that `copy` reads from stay what they are.
    """
    try:
        yield
    except _Unreadable as error:
        raise error.cause from None
    except faults as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StorageError(f"Cannot write to {place}: {reason}.", hint="Free space or mend it.") from error


def copy(source: BinaryIO, target: BinaryIO) -> tuple[str, int]:
    """Copy to the end of `source`; SHA-256 in hexadecimal and number of bytes. Only within `writing`."""
    digest, size = hashlib.sha256(), 0
    while chunk := _read(source):
        digest.update(chunk)
        target.write(chunk)
        size += len(chunk)
    target.flush()
    return digest.hexdigest(), size


def _read(source: BinaryIO) -> bytes:
    try:
        return source.read(CHUNK)
    except OSError as error:
        raise _Unreadable(error) from error


def _missing(key: str) -> BytesMissing:
    return BytesMissing(f"{key} is not in the store.", hint="Run dsdc fsck.")


class Storage(Protocol):
    """Where bytes live. `put` returns once they are durable, and puts right what lay there missing or damaged.

    Raises:
        StorageError: the place refuses; nothing is left behind. OSError: the source given to `put` cannot be read.
    """

    def put(self, area: Area, source: BinaryIO, check: Check | None = None) -> Stored: ...
    def put_bytes(self, area: Area, data: bytes) -> Stored: ...
    def read(self, key: str) -> bytes: ...
    def exists(self, key: str) -> bool: ...
    def age_s(self, key: str) -> float: ...
    def local(self, key: str) -> AbstractContextManager[Path]: ...
    def keys(self, area: Area) -> Iterator[str]:
        """Of every file there, also of those that somebody else put there; none of what is on its way in."""
        ...

    def delete(self, key: str) -> None: ...
    def drafts(self) -> Iterator[Path]: ...


class FolderStorage:
    """The store as folders of this machine; `durable=False` is for scratch that nobody needs after a crash."""

    def __init__(self, raw: Path, processed: Path, uploads: Path | None = None, *, durable: bool = True) -> None:
        self._areas: dict[Area, Path] = {"raw": raw, "processed": processed}
        if uploads is not None:
            self._areas["uploads"] = uploads
        self._durable = durable

    def _path(self, key: str) -> Path:
        name, _, rest = key.partition("/")
        area: Area = "raw" if name == "raw" else "uploads" if name == "uploads" else "processed"
        return self._areas[area] / rest

    def put_bytes(self, area: Area, data: bytes) -> Stored:
        return self.put(area, io.BytesIO(data))

    def put(self, area: Area, source: BinaryIO, check: Check | None = None) -> Stored:
        """Copy and hash in one pass, fsync, check, rename into place, fsync the folders."""
        root = self._areas[area]
        draft: Path | None = None
        with writing(root):
            try:
                (root / DRAFTS).mkdir(parents=True, exist_ok=True)
                descriptor, name = tempfile.mkstemp(dir=root / DRAFTS)
                draft = Path(name)
                with os.fdopen(descriptor, "wb") as target:
                    sha256, size = copy(source, target)
                    if self._durable:
                        os.fsync(target.fileno())
                reach("storage.drafted")
                stored = Stored(key_of(area, sha256), sha256, size)
                if check is not None:
                    check(stored)
                self._publish(draft, root, self._path(stored.key))
            finally:
                if draft is not None:
                    draft.unlink(missing_ok=True)
        return stored

    def _publish(self, draft: Path, root: Path, target: Path) -> None:
        # Over what may be there already: by its name it is the same, and if it was damaged, this puts it right.
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.chmod(0o644)
        reach("storage.before_rename")
        draft.replace(target)
        reach("storage.renamed")
        if self._durable:
            for folder in (target.parent, target.parent.parent, root):
                sync_folder(folder)

    def read(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            raise _missing(key) from None

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def age_s(self, key: str) -> float:
        """Seconds since the bytes were put there, by the clock of this machine."""
        try:
            return time.time() - self._path(key).stat().st_mtime
        except FileNotFoundError:
            raise _missing(key) from None

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """A path of this machine with the bytes, for parsers that need a file."""
        path = self._path(key)
        if not path.is_file():
            raise _missing(key)
        yield path

    def keys(self, area: Area) -> Iterator[str]:
        root = self._areas[area]
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = Path(folder).relative_to(root).as_posix()
            for name in files:
                if not name.startswith("."):
                    yield f"{area}/{name}" if inside == "." else f"{area}/{inside}/{name}"

    def delete(self, key: str) -> None:
        with writing(self._path(key)):
            self._path(key).unlink(missing_ok=True)

    def drafts(self) -> Iterator[Path]:
        """Files that are on their way in, or were when their writer was killed."""
        for root in self._areas.values():
            if (root / DRAFTS).is_dir():
                yield from (root / DRAFTS).iterdir()


class ObjectStorage:
    """The store as objects behind an fsspec URL, S3 for example. A finished upload is atomic there."""

    def __init__(self, url: str, endpoint: str = "") -> None:
        options = {}
        self._faults: tuple[type[Exception], ...] = (OSError,)
        if url.startswith("s3://"):
            from botocore.exceptions import BotoCoreError

            self._faults = (OSError, BotoCoreError)
            options = {"key": secrets().value("s3_access"), "secret": secrets().value("s3_secret")}
            if endpoint:
                options["client_kwargs"] = {"endpoint_url": endpoint}  # type: ignore[assignment]
        self._fs, self._root = fsspec.core.url_to_fs(url, **options)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _folder(self, key: str) -> str:
        return self._path(key).rsplit("/", 1)[0]

    @contextmanager
    def _asking(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise _missing(key) from None
        except self._faults as error:
            raise StorageError(f"The store does not give {key}: {error}.", hint="Check storage.url.") from error

    def put_bytes(self, area: Area, data: bytes) -> Stored:
        sha256 = hashlib.sha256(data).hexdigest()
        stored = Stored(key_of(area, sha256), sha256, len(data))
        with writing(self._root, self._faults):
            self._fs.makedirs(self._folder(stored.key), exist_ok=True)
            self._fs.pipe_file(self._path(stored.key), data)
        return stored

    def put(self, area: Area, source: BinaryIO, check: Check | None = None) -> Stored:
        # Spooled to disk first: the name is the hash, which is known only at the end.
        with writing(f"{self._root} or {tempfile.gettempdir()}", self._faults), tempfile.NamedTemporaryFile() as spool:
            sha256, size = copy(source, spool)  # type: ignore[arg-type]
            reach("storage.drafted")
            stored = Stored(key_of(area, sha256), sha256, size)
            if check is not None:
                check(stored)
            reach("storage.before_rename")
            self._fs.makedirs(self._folder(stored.key), exist_ok=True)
            self._fs.put_file(spool.name, self._path(stored.key))
            reach("storage.renamed")
        return stored

    def read(self, key: str) -> bytes:
        with self._asking(key):
            return bytes(self._fs.cat_file(self._path(key)))

    def exists(self, key: str) -> bool:
        with self._asking(key):
            return bool(self._fs.exists(self._path(key)))

    def age_s(self, key: str) -> float:
        with self._asking(key):
            return time.time() - float(self._fs.modified(self._path(key)).timestamp())

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        data = self.read(key)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "document"
            with writing(folder):
                path.write_bytes(data)
            yield path

    def keys(self, area: Area) -> Iterator[str]:
        prefix = self._path(area)
        with self._asking(area):
            for path in self._fs.find(prefix):
                yield f"{area}/{path.removeprefix(prefix).lstrip('/')}"

    def delete(self, key: str) -> None:
        if self.exists(key):
            with self._asking(key):
                self._fs.rm_file(self._path(key))

    def drafts(self) -> Iterator[Path]:
        """None: an upload that is broken off leaves nothing under any name."""
        return iter(())


def verify(store: Storage, key: str) -> None:
    """Raise HashMismatch unless the bytes under `key` have the hash that names them."""
    found = hashlib.sha256(store.read(key)).hexdigest()
    if found != key.rsplit("/", 1)[-1]:
        raise HashMismatch(f"{key} now has SHA-256 {found}.", hint="Restore it from a backup; see dsdc fsck.")


def open_storage(config: Settings) -> Storage:
    """The store that the settings name."""
    if config.storage.url:
        return ObjectStorage(config.storage.url, config.storage.endpoint)
    return FolderStorage(config.path("raw"), config.path("processed"), config.path("uploads"))

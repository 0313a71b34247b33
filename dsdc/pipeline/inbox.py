"""What lies in a folder of arriving files, and which of it stands still.

Only regular files with one name are taken. Links, pipes, devices and sockets are told of and left where they are, and
nothing is opened in a way that follows a link or waits for a writer.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MANIFEST = "labels.csv"
NOT_DOCUMENTS = {MANIFEST, "ground_truth.jsonl", ".gitkeep"}

# The host's clock may be set back or forward while a file is being written, by an hour for a wrong daylight-saving
# rule, by half a day for a wrong zone. Only an age beyond that is believed; younger files are watched.
CLOCK_DOUBT_S = 86_400.0

Skip = Callable[[Path, str], None]  # (path, why it is not taken)


@dataclass(frozen=True)
class Found:
    """A regular file of the inbox; `name` and `folder` are relative to it, undecodable bytes escaped."""

    path: Path
    folder: str
    name: str
    status: os.stat_result

    @property
    def arrival_key(self) -> str:
        """One arrival of a file: changes with its place, its content and its coming."""
        s = self.status
        text = f"{self.path}|{s.st_dev}|{s.st_ino}|{s.st_mtime_ns}|{s.st_ctime_ns}|{s.st_size}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

    def is_still(self, now: os.stat_result) -> bool:
        """Whether `now` is the state of the very file that was found, untouched since."""
        # ctime moves with every write and cannot be set back, unlike mtime, which copy programs restore.
        return _state(now) == _state(self.status)


def _state(s: os.stat_result) -> tuple[int, ...]:
    return (s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)


class Watch:
    """Which files have stood still for `quiet_s` seconds.

    A file that is older than any doubt about the clock is quiet at once; any other when it was seen unchanged for so
    long by a clock that nobody sets. `now_s` is the clock of file times, `steady_s` the other one.
    """

    def __init__(
        self,
        quiet_s: float,
        *,
        now_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._quiet_s = quiet_s
        self._now_s = now_s
        self._steady_s = steady_s
        self._since: dict[str, float] = {}

    def quiet(self, found: Found) -> bool:
        """Whether the file has stood still for long enough; looking is what makes it known."""
        if self._quiet_s <= 0 or self._now_s() - found.status.st_ctime >= self._quiet_s + CLOCK_DOUBT_S:
            return True
        since = self._since.setdefault(found.arrival_key, self._steady_s())
        return self._steady_s() - since >= self._quiet_s


def scan(root: Path, skip: Skip, *, only: str | None = None, hard_links: bool = False) -> list[Found]:
    """Every regular file below `root`, sorted; what is none is reported to `skip`, hidden ones are ignored.

    Args:
        only: the name of a single file of `root` to look for.
        hard_links: take files with a second name too. Such a file may change through it at any time, which is no
            matter where it is only copied.
    """
    paths = [root / only] if only is not None else _paths(root, skip, lambda name: name not in NOT_DOCUMENTS)
    return _regular(root, paths, skip, hard_links=hard_links)


def listed_files(root: Path, paths: Iterable[Path], skip: Skip) -> list[Found]:
    """Those of the files at `paths`, below `root`, that are regular files, sorted; like `scan` with `hard_links`."""
    return _regular(root, set(paths), skip, hard_links=True)


def manifests(root: Path, skip: Skip, *, only: bool = False) -> list[Found]:
    """The labels files below `root`, or `only` the one in it."""
    paths = [root / MANIFEST] if only else _paths(root, skip, lambda name: name == MANIFEST)
    return _regular(root, paths, skip, hard_links=True)


def _paths(root: Path, skip: Skip, wanted: Callable[[str], bool]) -> Iterator[Path]:
    return (Path(entry.path) for entry in _walk(root, skip) if wanted(entry.name))


def _regular(root: Path, paths: Iterable[Path], skip: Skip, *, hard_links: bool) -> list[Found]:
    found = []
    for path in paths:
        try:
            status = os.lstat(path)
        except FileNotFoundError:  # gone since it was listed
            continue
        except OSError as error:
            skip(path, f"cannot be looked at: {error.strerror}")
            continue
        if not stat.S_ISREG(status.st_mode):
            skip(path, "is not a regular file (links, pipes and devices are not followed)")
        elif status.st_nlink > 1 and not hard_links:
            skip(path, "has a second name (a hard link), through which it may change; put a copy here")
        else:
            found.append(_found(root, path, status))
    return sorted(found, key=lambda f: str(f.path))


def _found(root: Path, path: Path, status: os.stat_result) -> Found:
    relative = path.relative_to(root)
    folder = "" if relative.parent == Path() else printable(str(relative.parent))
    return Found(path, folder, printable(relative.name), status)


def _walk(root: Path, skip: Skip) -> Iterator[os.DirEntry[str]]:
    """Everything but folders and what is hidden. Not recursive: a path has room for two thousand folders."""
    folders = [str(root)]
    while folders:
        for entry in _entries(folders.pop(), skip):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            else:
                yield entry


def _entries(folder: str, skip: Skip) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:  # gone since it was listed
        return []
    except OSError as error:
        skip(Path(folder), f"cannot be listed: {error.strerror}")
        return []


def printable(name: str) -> str:
    """A file name as text that any database takes: undecodable bytes and control characters escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(ch if ch.isprintable() else f"\\x{ord(ch):02x}" for ch in text)


@contextmanager
def open_regular(path: Path) -> Iterator[BinaryIO]:
    """Open for reading without following a link and without blocking on a pipe; OSError for anything not regular."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        yield file


def being_written(file: BinaryIO, folder: Path) -> bool:
    """Whether some process has the file, which lies in `folder`, open for writing; False where that cannot be known.

    Linux grants a read lease only on a file that nobody has open for writing, however long its writer pauses.
    """
    return _refuses_lease(file) and _grants_leases(folder)


def _grants_leases(folder: Path) -> bool:
    """Whether a lease is had at all: file systems of the network may refuse every one."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=".probe-", dir=folder)
        os.close(descriptor)
        try:
            with open_regular(Path(name)) as probe:
                return not _refuses_lease(probe)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError:
        return True  # on the safe side: the file waits


def _refuses_lease(file: BinaryIO) -> bool:
    try:
        # A writer that comes just now would break the lease with SIGIO, which ends a process; SIGURG is ignored.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    return False


def remove(found: Found) -> None:
    """Remove the very file that was taken; one that was put in its place since, or written to, stays."""
    try:
        if found.is_still(os.lstat(found.path)):
            found.path.unlink()
    except FileNotFoundError:
        return

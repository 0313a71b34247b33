"""Files of the inbox -> documents.

The order is what keeps every byte accounted for: quiet file -> copied and hashed in one pass, durable in the store ->
one transaction (documents, sightings, labels) -> COMMIT -> only then is the inbox file removed. A crash anywhere leaves
the file in the inbox, and taking it again changes nothing.
"""

from __future__ import annotations

import csv
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.repositories.documents import Arrival, Documents, NewDocument
from dsdc.db.repositories.labels import Labels
from dsdc.db.session import retrying, transaction
from dsdc.errors import DocumentError, TooLarge
from dsdc.log import get_logger
from dsdc.pipeline.quarantine import reject_file
from dsdc.processors.media_type import HEAD_BYTES, detect
from dsdc.settings import Settings, settings
from dsdc.storage import Storage, open_storage
from dsdc.taxonomy import Taxonomy

log = get_logger(__name__)

Progress = Callable[[int, int], None]  # (files handled, files found)
MANIFEST = "labels.csv"
NOT_DOCUMENTS = {MANIFEST, "ground_truth.jsonl", ".gitkeep"}
SETTLE_ROUNDS = 5  # times a run waits for files that are still being written


@dataclass
class IngestReport:
    """Files of one run, by what became of them."""

    taken: int = 0
    new: int = 0
    duplicates: int = 0
    rejected: int = 0
    labelled: int = 0
    unquiet: int = 0
    skipped: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    unknown_labels: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        return {
            "taken": self.taken,
            "new": self.new,
            "duplicates": self.duplicates,
            "rejected": self.rejected,
            "labelled": self.labelled,
            "unquiet": self.unquiet,
            "skipped": self.skipped,
            "reasons": dict(self.reasons),
            "unknown_labels": list(self.unknown_labels),
        }


@dataclass(frozen=True)
class Found:
    """A regular file of the inbox; `name` and `folder` are relative to it, undecodable bytes escaped."""

    path: Path
    folder: str
    name: str
    status: os.stat_result

    @property
    def arrival_key(self) -> str:
        s = self.status
        text = f"{self.path}|{s.st_dev}|{s.st_ino}|{s.st_mtime_ns}|{s.st_ctime_ns}|{s.st_size}"
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


@dataclass(frozen=True)
class Taken:
    """A file whose bytes are in the store."""

    found: Found
    document: NewDocument
    label: str | None


def ingest_inbox(
    *,
    folder: Path | None = None,
    only: str | None = None,
    source: str = "inbox",
    author: str | None = None,
    keep: bool = False,
    manifest: Path | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Take every quiet file of the inbox, or of `folder`.

    Args:
        folder: where to look; `data/to_ingest` by default.
        only: the name of a single file of that folder to take.
        source: what the sightings say: inbox, import, cli.
        author: who or which run brings the files.
        keep: leave the files where they are (an import from somebody's own folder).
        manifest: a labels file (columns file,label) besides those that lie in the folders.
    """
    config = settings()
    place = folder or config.path("to_ingest")
    run = _Run(config, open_storage(config), place, source, author, keep=keep, only=only)
    return run.go(manifest, progress)


class _Run:
    def __init__(
        self,
        config: Settings,
        storage: Storage,
        root: Path,
        source: str,
        author: str | None,
        *,
        keep: bool,
        only: str | None,
    ) -> None:
        self._config = config
        self._storage = storage
        self._root = root
        self._source = source
        self._author = author
        self._keep = keep
        self._only = only
        self._taxonomy = Taxonomy.from_settings(config.taxonomy)
        self._report = IngestReport()
        self._manifest: dict[tuple[str, str], str] = {}

    def go(self, manifest: Path | None, progress: Progress | None) -> IngestReport:
        handled: set[str] = set()
        for attempt in range(SETTLE_ROUNDS + 1):
            found = [f for f in self._scan() if f.arrival_key not in handled]
            self._manifest = self._read_manifests(manifest)
            quiet = [f for f in found if self._quiet(f)]
            self._report.unquiet = len(found) - len(quiet)
            for start in range(0, len(quiet), self._config.ingest.batch):
                batch = quiet[start : start + self._config.ingest.batch]
                self._take(batch)
                handled |= {f.arrival_key for f in batch}
                if progress is not None:
                    progress(len(handled), len(handled) + len(quiet) - start - len(batch))
            if not self._report.unquiet or attempt == SETTLE_ROUNDS:
                break
            time.sleep(max(self._config.ingest.quiet_s / 2, 0.05))
        self._label_earlier_arrivals()
        if not self._keep:
            self._retire_manifests()
        log.info("ingest.finished", **self._report.as_dict())
        return self._report

    def _scan(self) -> list[Found]:
        found = scan(self._root, self._skip)
        return found if self._only is None else [f for f in found if f.path == self._root / self._only]

    def _skip(self, path: Path, reason: str) -> None:
        self._report.skipped += 1
        self._report.reasons[str(path)] = reason
        log.warning("ingest.skipped", path=str(path), reason=reason)

    def _quiet(self, found: Found) -> bool:
        # ctime moves with every write and cannot be set back, unlike mtime, which copy programs restore.
        return time.time() - found.status.st_ctime >= self._config.ingest.quiet_s or self._keep

    def _take(self, batch: Sequence[Found]) -> None:
        """Store a batch, record it in one transaction, then remove its inbox files."""
        taken: list[Taken] = []
        for found in batch:
            stored = self._store(found)
            if stored is not None:
                taken.append(stored)
        if taken:
            self._count(*retrying(lambda: self._record(taken)), taken)
        if not self._keep:
            for item in taken:
                _remove(item.found)

    def _store(self, found: Found) -> Taken | None:
        try:
            with open_regular(found.path) as file:
                try:
                    media_type = self._check(found, file)
                except DocumentError as error:
                    self._reject(found, file, error)
                    return None
                stored = self._storage.put("raw", file)
                if _changed(found, os.fstat(file.fileno())):
                    self._report.unquiet += 1  # written to while it was read: left for the next run
                    return None
        except FileNotFoundError:
            return None  # removed since it was listed
        except OSError as error:
            self._skip(found.path, f"cannot be read: {error.strerror}")
            return None
        document = NewDocument(stored.sha256, stored.key, found.name, media_type, stored.size)
        return Taken(found, document, self._label(found))

    def _check(self, found: Found, file: BinaryIO) -> str:
        limit = self._config.ingest.max_file_mb
        if found.status.st_size > limit << 20:
            raise TooLarge(f"The file has {found.status.st_size >> 20} MB; ingest.max_file_mb allows {limit}.")
        media_type = detect(file.read(HEAD_BYTES))
        file.seek(0)
        return media_type

    def _reject(self, found: Found, file: BinaryIO, error: DocumentError) -> None:
        self._report.rejected += 1
        self._report.reasons[found.name] = str(error)
        if self._keep:
            return
        file.seek(0)
        reject_file(self._config, file, found.name, error, stage="ingest")
        _remove(found)

    def _record(self, taken: Sequence[Taken]) -> tuple[set[str], int]:
        """One transaction for the batch; returns the new documents' ids and the number of labels stated."""
        labelled = 0
        with transaction() as session:
            documents, labels = Documents(session), Labels(session)
            new = documents.add([t.document for t in taken])
            if revived := documents.revive([t.document for t in taken if t.document.id not in new]):
                StageAttempts(session).forgive(revived)
            documents.sight([self._arrival(t) for t in taken])
            for item in sorted(taken, key=lambda t: t.document.id):
                if item.label is not None:
                    labels.add(
                        item.document.id,
                        item.label,
                        taxonomy=self._taxonomy.name,
                        source="import",
                        author=self._author or self._source,
                    )
                    labelled += 1
        return new, labelled

    def _arrival(self, item: Taken) -> Arrival:
        found = item.found
        key = found.arrival_key if not self._keep else None
        return Arrival(item.document.id, self._source, found.name, found.folder, self._author, key)

    def _count(self, new: set[str], labelled: int, taken: Sequence[Taken]) -> None:
        self._report.taken += len(taken)
        self._report.new += len(new)
        self._report.duplicates += len(taken) - len(new)
        self._report.labelled += labelled

    def _label(self, found: Found) -> str | None:
        """The class that a labels file or the top folder's name states; no class, no label."""
        listed = self._manifest.get((found.folder, found.name))
        stated = listed if listed is not None else found.folder.split("/", 1)[0]
        return self._known(stated, quiet=listed is None) if stated else None

    def _known(self, stated: str, *, quiet: bool) -> str | None:
        slug = self._taxonomy.find(stated)
        if slug is None and not quiet and stated not in self._report.unknown_labels:
            self._report.unknown_labels.append(stated)
            log.warning("ingest.unknown_label", label=stated, taxonomy=self._taxonomy.name)
        return slug

    def _manifest_files(self) -> Iterator[Path]:
        for folder, subfolders, names in os.walk(self._root):
            subfolders[:] = [s for s in subfolders if not s.startswith(".")]
            if MANIFEST in names:
                yield Path(folder) / MANIFEST

    def _read_manifests(self, extra: Path | None) -> dict[tuple[str, str], str]:
        labels: dict[tuple[str, str], str] = {}
        for path in [*self._manifest_files(), *([extra] if extra else [])]:
            base = path.parent if path != extra else self._root
            try:
                labels |= _read_manifest(path, base, self._root)
            except (OSError, ValueError, csv.Error) as error:
                self._skip(path, f"is no labels file (columns file,label): {error}")
        return labels

    def _label_earlier_arrivals(self) -> None:
        """A labels file may come after its documents: what it names and is no longer here was seen before."""
        missing = [(k, v) for k, v in self._manifest.items() if not (self._root / k[0] / k[1]).exists()]
        if not missing or self._keep:
            return
        with transaction() as session:
            documents, labels = Documents(session), Labels(session)
            for (folder, name), stated in missing:
                slug, document_id = self._known(stated, quiet=False), documents.last_seen_as(folder, name)
                if slug and document_id:
                    labels.add(
                        document_id,
                        slug,
                        taxonomy=self._taxonomy.name,
                        source="import",
                        author=self._author or self._source,
                    )

    def _retire_manifests(self) -> None:
        """A labels file of which nothing is left in the inbox has done its work; it is kept beside the raw bytes."""
        for path in list(self._manifest_files()):
            try:
                names = _read_manifest(path, path.parent, self._root)
            except (OSError, ValueError, csv.Error):
                continue
            if any((self._root / folder / name).exists() for folder, name in names):
                continue
            kept = self._config.path("raw") / "manifests"
            kept.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            path.replace(kept / f"{digest[:16]}-{MANIFEST}")


def scan(root: Path, skip: Callable[[Path, str], None]) -> list[Found]:
    """Every regular file below `root`, sorted; links and special files are reported to `skip`, hidden ones ignored."""
    found = []
    for path, status in _walk(root):
        if stat.S_ISREG(status.st_mode):
            relative = path.relative_to(root)
            folder = "" if relative.parent == Path() else printable(str(relative.parent))
            found.append(Found(path, folder, printable(relative.name), status))
        else:
            skip(path, "is not a regular file (links, pipes and devices are not followed)")
    return sorted(found, key=lambda f: str(f.path))


def _walk(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    if not root.is_dir():
        return
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name in NOT_DOCUMENTS:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(Path(entry.path))
                continue
            try:
                # Not entry.stat(): the quiet test needs the state of now.
                yield Path(entry.path), os.lstat(entry.path)
            except FileNotFoundError:
                continue


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
            raise OSError(0, "not a regular file")
        yield file


def _changed(found: Found, now: os.stat_result) -> bool:
    then = found.status
    return (then.st_ino, then.st_size, then.st_mtime_ns) != (now.st_ino, now.st_size, now.st_mtime_ns)


def _remove(found: Found) -> None:
    """Remove the very file that was taken; one that was put in its place since stays for the next run."""
    try:
        if not _changed(found, os.lstat(found.path)):
            found.path.unlink()
    except FileNotFoundError:
        return


def _read_manifest(path: Path, base: Path, root: Path) -> dict[tuple[str, str], str]:
    """(folder, name) relative to the inbox -> label."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        if not rows.fieldnames or not {"file", "label"} <= set(rows.fieldnames):
            raise ValueError(f"it has the columns {rows.fieldnames}")
        return dict(_entries(rows, base, root))


def _entries(rows: Iterable[dict[str, str]], base: Path, root: Path) -> Iterator[tuple[tuple[str, str], str]]:
    for row in rows:
        if not row["file"] or not row["label"]:
            continue
        target = Path(os.path.normpath(base / row["file"]))
        if target.is_relative_to(root):
            relative = target.relative_to(root)
            folder = "" if relative.parent == Path() else str(relative.parent)
            yield (printable(folder), printable(relative.name)), row["label"].strip()

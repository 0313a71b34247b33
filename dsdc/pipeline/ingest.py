"""Files of the inbox -> documents.

The order is what keeps every byte accounted for: quiet file -> copied and hashed in one pass, durable in the store ->
one transaction (documents, sightings, labels) -> COMMIT -> only then is the inbox file removed. A crash anywhere leaves
the file in the inbox, and taking it again changes nothing.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from dsdc.db.repositories.documents import Arrival, NewDocument
from dsdc.errors import DocumentError, StorageError
from dsdc.failpoints import reach
from dsdc.log import get_logger
from dsdc.pipeline.inbox import (
    NOT_DOCUMENTS,
    Found,
    Watch,
    being_written,
    listed_files,
    open_regular,
    printable,
    remove,
    scan,
)
from dsdc.pipeline.ingest_report import IngestReport
from dsdc.pipeline.intake import Intake, Taken
from dsdc.pipeline.labels_files import LabelsFiles, notice
from dsdc.pipeline.manifests import KEPT, Statement, read_rows, statements
from dsdc.pipeline.quarantine import reject_file
from dsdc.settings import Settings, settings
from dsdc.storage import Storage, Stored, open_storage
from dsdc.taxonomy import Taxonomy

__all__ = ["NOT_DOCUMENTS", "IngestReport", "Progress", "ingest_inbox"]

log = get_logger(__name__)

Progress = Callable[[int, int], None]  # (files handled, files found)
SETTLE_ROUNDS = 3  # times a run waits `ingest.quiet_s` for files that may still be written


class _Moving(Exception):
    """The file is not, or no longer, the one that was found: it is left for a later look."""


def ingest_inbox(
    *,
    folder: Path | None = None,
    only: str | None = None,
    source: str = "inbox",
    author: str | None = None,
    keep: bool = False,
    manifest: Path | None = None,
    listed: Sequence[Statement] | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Take every quiet file of the inbox, or of `folder`.

    Args:
        folder: where to look; `data/to_ingest` by default.
        only: the name of a single file of that folder to take.
        source: what the sightings say: inbox, import, cli.
        author: who or which run brings the files.
        keep: leave the files where they are (an import from somebody's own folder).
        manifest: a labels file (columns file,label) besides those that lie in the folders; it is no document.
        listed: take these files and no others, with these labels, '' for none.

    Raises:
        NotFound: `manifest` cannot be read, or is no labels file; nothing was taken.
        StorageError, DatabaseError: the platform failed; what it did not take is still where it was.
    """
    config = settings()
    place = folder or config.path("to_ingest")
    run = _Run(config, open_storage(config), place, source, author, keep=keep, only=only)
    if manifest is not None:
        run.read(manifest)
    if listed is not None:
        run.restrict(listed)
    return run.go(progress)


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
        self._stated: list[Statement] = []
        self._listed: list[Path] | None = None
        self._no_document: Path | None = None
        self._intake = Intake(config, storage, author or source)
        self._taxonomy = Taxonomy.from_settings(config.taxonomy)
        self._watch = Watch(0.0 if keep else config.ingest.quiet_s)
        self._run_id = uuid.uuid4().hex
        self._report = IngestReport()
        self._skipped: dict[Path, str] = {}
        self._handled: set[str] = set()
        self._labels = LabelsFiles(root, self._watch, self._skip, inbox=not keep, only=only is not None)

    def read(self, manifest: Path) -> None:
        """Labels from a labels file that somebody named."""
        self._stated += [s for s in statements(read_rows(manifest), self._root, self._root) if s.label]
        self._no_document = manifest.resolve()

    def restrict(self, listed: Sequence[Statement]) -> None:
        """Take nothing but this."""
        self._stated += [s for s in listed if s.label]
        self._listed = [s.path for s in listed]

    def go(self, progress: Progress | None) -> IngestReport:
        for attempt in range(SETTLE_ROUNDS + 1):
            self._round(progress)
            if not self._report.unquiet or attempt == SETTLE_ROUNDS:
                break
            time.sleep(max(self._config.ingest.quiet_s, 0.05))
        if not self._keep:
            self._finish_labels()
        self._report.skipped = len(self._skipped)
        self._report.reasons |= {printable(str(path)): reason for path, reason in self._skipped.items()}
        log.info("ingest.finished", **self._report.as_dict())
        return self._report

    def _round(self, progress: Progress | None) -> None:
        """Look once, and take what is quiet."""
        self._skipped.clear()
        found = [f for f in self._scan() if f.arrival_key not in self._handled and f.path != self._no_document]
        quiet = [f for f in found if self._watch.quiet(f)]
        self._report.unquiet = len(found) - len(quiet) + self._labels.look(self._stated)
        size = self._config.ingest.batch
        for start in range(0, len(quiet), size):
            self._take(quiet[start : start + size])
            if progress is not None:
                progress(len(self._handled), len(self._handled) + max(len(quiet) - start - size, 0))

    def _scan(self) -> list[Found]:
        if self._listed is not None:
            return listed_files(self._root, self._listed, self._skip)
        return scan(self._root, self._skip, only=self._only, hard_links=self._keep)

    def _skip(self, path: Path, reason: str) -> None:
        if path not in self._skipped:
            log.warning("ingest.skipped", path=printable(str(path)), reason=reason)
        self._skipped[path] = reason

    def _take(self, batch: Sequence[Found]) -> None:
        """Store a batch, record it in one transaction, then remove its inbox files."""
        stored: dict[str, tuple[Found, Taken]] = {}
        try:
            for found in batch:
                taken = self._store(found)
                if taken is not None:
                    stored[found.arrival_key] = (found, taken)
        except StorageError:
            self._settle(list(stored.values()))  # what came before has its place already
            raise
        self._settle(list(stored.values()))

    def _settle(self, stored: Sequence[tuple[Found, Taken]]) -> None:
        if not stored:
            return
        recorded = self._intake.record([taken for _, taken in stored])
        self._report.taken += len(stored)
        self._report.new += len(recorded.new)
        self._report.duplicates += len(stored) - len(recorded.new)
        self._report.labelled += recorded.labelled
        self._handled |= {found.arrival_key for found, _ in stored}
        if self._keep:
            return
        reach("ingest.before_unlink")
        for found, _ in stored:
            remove(found)
            reach("ingest.unlinked")

    def _store(self, found: Found) -> Taken | None:
        """The file's bytes into the store; None for one that is refused, moving, gone, or cannot be read."""
        try:
            with open_regular(found.path) as file:
                self._require_still(found, file)
                reach("ingest.opened")
                try:
                    media_type = self._intake.check(file, found.status.st_size)
                    stored = self._put(found, file)
                except DocumentError as error:
                    self._reject(found, file, error)
                    return None
        except FileNotFoundError:
            return None  # removed since it was listed
        except _Moving:
            self._report.unquiet += 1
            return None
        except OSError as error:
            self._skip(found.path, f"cannot be read: {error.strerror}")
            return None
        reach("ingest.stored")
        return self._taken(found, stored, media_type)

    def _require_still(self, found: Found, file: BinaryIO) -> None:
        """Raise _Moving for a file that was replaced, removed or written to since it was found, or is being written."""
        now = os.fstat(file.fileno())
        if not found.is_still(now) or not (self._keep or now.st_nlink == 1):
            raise _Moving
        if not self._keep and self._config.ingest.quiet_s > 0 and being_written(file, found.path.parent):
            raise _Moving

    def _put(self, found: Found, file: BinaryIO) -> Stored:
        def check(stored: Stored) -> None:
            self._require_still(found, file)
            self._intake.require_remembered(stored.sha256)

        return self._storage.put("raw", file, check)

    def _put_again(self, found: Found) -> None:
        try:
            with open_regular(found.path) as file:
                self._put(found, file)
        except (OSError, _Moving) as error:
            raise StorageError(
                f"The bytes of {found.name} left the store, and the file is no longer there.", hint="Run it again."
            ) from error

    def _taken(self, found: Found, stored: Stored, media_type: str) -> Taken:
        # A file that stays where it is arrives anew in each run, but only once in it.
        key = sha256(f"{self._run_id}|{found.arrival_key}".encode()).hexdigest() if self._keep else found.arrival_key
        return Taken(
            NewDocument(stored.sha256, stored.key, found.name, media_type, stored.size),
            Arrival(stored.sha256, self._source, found.name, found.folder, self._author, key),
            self._label(found),
            lambda: self._put_again(found),
            self._labels.keys(found),
        )

    def _reject(self, found: Found, file: BinaryIO, error: DocumentError) -> None:
        if not self._keep:
            file.seek(0)
            reject_file(
                self._config,
                file,
                found.name,
                error,
                stage="ingest",
                arrival={"folder": found.folder, "label": self._label(found) or ""},
                check=lambda _: self._require_still(found, file),
            )
            self._labels.refused(found)
            reach("ingest.before_unlink")
            remove(found)
            reach("ingest.unlinked")
        self._handled.add(found.arrival_key)
        self._report.rejected += 1
        self._report.reasons[f"{found.folder}/{found.name}".lstrip("/")] = str(error)

    def _label(self, found: Found) -> str | None:
        """The class that a labels file or the top folder's name states; no class, no label."""
        said = self._labels.about(found)
        if said:
            return self._known(said[-1].label)
        return self._taxonomy.find(found.folder.split("/", 1)[0]) if found.folder else None

    def _known(self, stated: str) -> str | None:
        slug = self._taxonomy.find(stated)
        if slug is None and stated not in self._report.unknown_labels:
            self._report.unknown_labels.append(stated)
            log.warning("ingest.unknown_label", label=stated, taxonomy=self._taxonomy.name)
        return slug

    def _finish_labels(self) -> None:
        """Labels whose files came before; then labels files that have done their work are kept beside the raw bytes."""
        self._report.labelled += self._labels.label_earlier(self._intake, self._known)
        waiting = self._labels.retire(self._config.path("raw") / KEPT)
        self._report.waiting = sum(map(len, waiting.values()))
        self._report.notices += [notice(path, names) for path, names in waiting.items()]

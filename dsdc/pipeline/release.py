"""Out of quarantine, for another try: the way a file takes that arrives, under the name that it arrived with."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from dsdc.db.repositories.documents import Arrival, NewDocument, RejectedDocuments
from dsdc.db.session import retrying, transaction
from dsdc.db.tables import RejectedDocument
from dsdc.errors import BytesMissing, DocumentError, Forgotten, HashMismatch, NotFound, StorageError
from dsdc.log import get_logger
from dsdc.pipeline.inbox import open_regular
from dsdc.pipeline.intake import Intake, Taken
from dsdc.pipeline.quarantine import read_reason, write_reason
from dsdc.settings import Settings, settings
from dsdc.storage import Storage, Stored, open_storage
from dsdc.taxonomy import Taxonomy

log = get_logger(__name__)

Progress = Callable[[int, int], None]  # (files handled, files to handle)


@dataclass
class ReleaseReport:
    """Files of quarantine, by what became of them; `reasons` say why one stays, by its id."""

    released: int = 0
    new: int = 0
    labelled: int = 0
    refused: int = 0
    reasons: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        return {
            "released": self.released,
            "new": self.new,
            "labelled": self.labelled,
            "refused": self.refused,
            "reasons": dict(self.reasons),
        }


def release(
    ids: Sequence[int] | None = None, *, author: str | None = None, progress: Progress | None = None
) -> ReleaseReport:
    """Bring files of quarantine into the store again, all of them or those with these ids.

    A document that was rejected once has its failed work forgiven; one that was forgotten on purpose comes back only
    when its id is named, and is processed from the start. What is refused again stays in quarantine, with
    the new reason and one attempt more; each file leaves only after its COMMIT.

    Raises:
        NotFound: one of the ids is not in quarantine; nothing is released then.
        StorageError, DatabaseError: the platform failed; what it did not release is still where it was.
    """
    rows = retrying(lambda: _rows(ids))
    config = settings()
    run = _Release(config, open_storage(config), author, remembers=ids is not None)
    done = 0
    for _, group in groupby(sorted(rows, key=lambda row: (row.sha256, row.id)), key=lambda row: row.sha256):
        same = list(group)
        run.bring_back(same)
        done += len(same)
        if progress is not None:
            progress(done, len(rows))
    log.info("release.finished", **run.report.as_dict())
    return run.report


def _rows(ids: Sequence[int] | None) -> Sequence[RejectedDocument]:
    with transaction() as session:
        rejected = RejectedDocuments(session)
        if ids is None:
            return [row for row in rejected.all() if row.category != Forgotten.category]
        return [_in_quarantine(rejected, rejected_id) for rejected_id in dict.fromkeys(ids)]


def _in_quarantine(rejected: RejectedDocuments, rejected_id: int) -> RejectedDocument:
    row = rejected.get(rejected_id)
    if row is None:
        raise NotFound(f"There is no rejected document {rejected_id}.", hint="`dsdc rejected` lists what there is.")
    if row.released is not None:
        raise NotFound(
            f"Rejected document {rejected_id} ({row.original_name}) was released on {row.released:%Y-%m-%d %H:%M}.",
            hint="`dsdc rejected` lists what is in quarantine now.",
        )
    return row


class _Release:
    def __init__(self, config: Settings, storage: Storage, author: str | None, *, remembers: bool) -> None:
        self._folder = config.path("rejected")
        self._storage = storage
        self._author = author
        self._intake = Intake(config, storage, author or "release", remembers=remembers)
        self._taxonomy = Taxonomy.from_settings(config.taxonomy)
        self.report = ReleaseReport()

    def bring_back(self, rows: Iterable[RejectedDocument]) -> None:
        """Files with the same bytes, which arrived under one name or several."""
        taken = [item for row in rows if (item := self._take(row)) is not None]
        if not taken:
            return
        recorded = self._intake.record(taken)
        self.report.released += len(taken)
        self.report.new += len(recorded.new)
        self.report.labelled += recorded.labelled

    def _take(self, row: RejectedDocument) -> Taken | None:
        path = self._folder / row.file_path
        try:
            with open_regular(path) as file:
                media_type = self._intake.check(file, row.byte_size)
            self._intake.require_remembered(row.sha256)
            stored = self._put(row)
        except FileNotFoundError:
            self._stays(row, str(BytesMissing(f"{row.file_path} is not in {self._folder}.", hint="Run dsdc fsck.")))
        except DocumentError as error:
            self._refused_again(row, error)
            self._stays(row, str(error))
        except (HashMismatch, OSError) as error:
            self._stays(row, str(error))
        else:
            return self._taken(row, stored, media_type)
        return None

    def _stays(self, row: RejectedDocument, reason: str) -> None:
        self.report.refused += 1
        self.report.reasons[f"{row.id} {row.original_name}"] = reason
        log.warning("release.refused", id=row.id, name=row.original_name, reason=reason)

    def _refused_again(self, row: RejectedDocument, error: DocumentError) -> None:
        attempts = row.attempts + 1

        def work() -> None:
            with transaction() as session:
                RejectedDocuments(session).refused_again(
                    row.id, stage="ingest", category=error.category, message=str(error), attempts=attempts
                )

        retrying(work)
        path = self._folder / row.file_path
        write_reason(path, read_reason(path) | {"stage": "ingest", "category": error.category, "reason": str(error)})

    def _put(self, row: RejectedDocument) -> Stored:
        def unchanged(stored: Stored) -> None:
            if stored.sha256 != row.sha256:
                raise HashMismatch(
                    f"{row.file_path} now has SHA-256 {stored.sha256}.", hint="Bring the file again; see dsdc fsck."
                )

        with open_regular(self._folder / row.file_path) as file:
            return self._storage.put("raw", file, unchanged)

    def _put_again(self, row: RejectedDocument) -> None:
        try:
            self._put(row)
        except OSError as error:
            raise StorageError(f"{row.file_path} left quarantine just now.", hint="Run it again.") from error

    def _taken(self, row: RejectedDocument, stored: Stored, media_type: str) -> Taken:
        facts = read_reason(self._folder / row.file_path)
        # Once for each time it was set aside, however often this is tried.
        key = hashlib.sha256(f"release|{row.id}|{row.rejected.isoformat()}".encode()).hexdigest()
        return Taken(
            NewDocument(stored.sha256, stored.key, row.original_name, media_type, stored.size),
            Arrival(stored.sha256, "cli", row.original_name, str(facts.get("folder", "")), self._author, key),
            self._taxonomy.find(str(facts.get("label", ""))),
            lambda: self._put_again(row),
        )

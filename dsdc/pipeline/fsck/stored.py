"""Documents' rows against their bytes, and the store's files against rows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from dsdc.db.repositories.consistency import Consistency, DocumentBytes
from dsdc.db.repositories.documents import Documents, RejectedDocuments
from dsdc.db.session import transaction
from dsdc.errors import BytesMissing, DocumentError
from dsdc.pipeline.fsck.places import Places
from dsdc.pipeline.fsck.report import YOUNG_S
from dsdc.pipeline.manifests import KEPT
from dsdc.pipeline.quarantine import discard_released, reject_file, remove_rejected, restore_copy
from dsdc.storage import DRAFTS, Area, is_key

BLOCK = 1000  # files at a time
_FOREIGN = "The store gives no such name: somebody put it here. Move a document to data/to_ingest, anything else away."
_BRING_AGAIN = "Bring the file again (dsdc ingest FILE), or restore it from a backup."


class StoredCheck:
    def __init__(self, places: Places) -> None:
        self._places = places

    def document(self, document: DocumentBytes) -> None:
        """A stored document's bytes are there and whole; those of any other are gone."""
        places = self._places
        places.report.documents += 1
        if document.state == "stored":
            fault = places.fault(document.file_path, document.id)
            if fault is not None and self._unchanged(document):
                places.report.found(fault[0], document.file_path, f"{fault[1]} {_BRING_AGAIN}")
        elif places.storage.exists(document.file_path) and self._unchanged(document):
            detail = f"The document is {document.state}, but its bytes are still in the store."
            repaired = places.repair and self._remove(document)
            places.report.found("leftover", document.file_path, detail, repaired=repaired)

    @staticmethod
    def _unchanged(document: DocumentBytes) -> bool:
        """Whether the row still says so: the platform may be at work meanwhile."""
        with transaction() as session:
            return Documents(session).states([document.id]) == {document.id: document.state}

    def _remove(self, document: DocumentBytes) -> bool:
        """Only what quarantine has whole may leave the store; where it does not, it gets it from here."""
        places = self._places
        if document.state == "rejected":
            with transaction() as session:
                rows = Consistency(session).rejections_of(document.id)
            if not rows:
                return False
            for row in rows:
                if places.rejected_fault(row.file_path, row.sha256) is None:
                    continue
                if places.fault(document.file_path, document.id) is not None:
                    return False
                with places.storage.local(document.file_path) as path, path.open("rb") as source:
                    restore_copy(places.config, source, row)
        return remove_rejected(places.storage, document.id)

    def orphans(self, area: Area) -> None:
        """Files that no row names. Young ones may belong to a transaction that is under way, and are told as such."""
        keys = self._places.storage.keys(area)
        while block := list(islice(keys, BLOCK)):
            self._places.report.files += len(block)
            with transaction() as session:
                known = Consistency(session).known_keys(block)
            for key in block:
                if key in known or key.startswith(f"raw/{KEPT}/"):
                    continue
                if not is_key(key):
                    self._places.report.found("foreign", key, _FOREIGN)
                elif (age := self._age_s(key)) is not None:
                    self._unnamed(area, key, age)

    def _age_s(self, key: str) -> float | None:
        """None where it has gone meanwhile."""
        try:
            return self._places.storage.age_s(key)
        except BytesMissing:
            return None

    def _unnamed(self, area: Area, key: str, age_s: float) -> None:
        if age_s < YOUNG_S:
            detail = f"No row names these bytes yet; they came {max(age_s, 0) / 60:.0f} min ago."
            self._places.report.found("recent", key, detail)
            return
        repaired = self._places.repair and (self._to_quarantine(key) if area == "raw" else self._throw_away(key))
        self._places.report.found("orphan", key, "No row names these bytes.", repaired=repaired)

    def _to_quarantine(self, key: str) -> bool:
        """A document is never thrown away. If it arrives at this very moment, it stays where it is."""
        places, sha256 = self._places, key.rsplit("/", 1)[-1]
        reason = _Orphan("These bytes were in the store without a row.", hint="Release it to have it processed.")
        with places.storage.local(key) as path, path.open("rb") as source:
            rejection = reject_file(places.config, source, sha256, reason, stage="fsck")
        with transaction() as session:
            documents = Documents(session)
            documents.hold([sha256, rejection.sha256])
            if documents.get(sha256) is None:
                places.storage.delete(key)
            elif rejection.sha256 == sha256:
                RejectedDocuments(session).release([sha256])
        discard_released(places.config, [rejection.sha256])
        return True

    def _throw_away(self, key: str) -> bool:
        """A page image can be made again, and an upload without a row was never accepted.

        Looked at once more, for somebody may have put it there just now.
        """
        with transaction() as session:
            known = Consistency(session).known_keys([key])
        age = self._age_s(key)
        if known or age is None or age < YOUNG_S:
            return False
        self._places.storage.delete(key)
        return True

    def drafts(self) -> None:
        """What a killed process had begun to copy; its source is still where it was."""
        for path in self._drafts():
            try:
                old = time.time() - path.stat().st_mtime >= YOUNG_S
            except FileNotFoundError:
                continue
            if not old:
                continue
            if self._places.repair:
                path.unlink(missing_ok=True)
            self._places.report.found("draft", str(path), "A copy was broken off here.", repaired=self._places.repair)

    def _drafts(self) -> Iterator[Path]:
        yield from list(self._places.storage.drafts())
        for folder in (self._places.quarantine, self._places.config.path("raw") / KEPT):
            yield from sorted(folder.glob(f"{DRAFTS}-*"))


class _Orphan(DocumentError):
    category = "orphan"

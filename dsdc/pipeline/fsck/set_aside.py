"""Quarantine: rows against files, files against rows, and a reason beside each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from dsdc.db.repositories.consistency import Consistency
from dsdc.db.repositories.documents import Documents, RejectedDocuments, Rejection
from dsdc.db.session import transaction
from dsdc.db.tables import RejectedDocument
from dsdc.errors import Forgotten
from dsdc.pipeline.fsck.places import Places, sha256_of
from dsdc.pipeline.fsck.report import YOUNG_S
from dsdc.pipeline.quarantine import REASON, discard_released, facts_of, read_reason, reason_path, write_reason


class SetAside:
    def __init__(self, places: Places) -> None:
        self._places = places

    def row(self, row: RejectedDocument) -> None:
        """What is in quarantine is there with its reason; what was released is gone."""
        if row.released is not None:
            self._released(row)
            return
        self._places.report.rejected += 1
        where = f"rejected/{row.file_path}"
        fault = self._places.rejected_fault(row.file_path, row.sha256)
        if fault is not None:
            if not self._still_waiting(row):
                return
            self._places.report.found(fault[0], where, fault[1])
        elif read_reason(self._places.quarantine / row.file_path).get("sha256") != row.sha256:
            if self._places.repair:
                write_reason(self._places.quarantine / row.file_path, facts_of(row))
            self._places.report.found("reason", where, "No reason lies beside it.", repaired=self._places.repair)

    @staticmethod
    def _still_waiting(row: RejectedDocument) -> bool:
        with transaction() as session:
            now = RejectedDocuments(session).get(row.id)
        return now is not None and now.released is None

    def _released(self, row: RejectedDocument) -> None:
        path = self._places.quarantine / row.file_path
        if not path.exists():
            return
        repaired = self._places.repair and self._is_stored(row.sha256)
        if repaired:
            discard_released(self._places.config, [row.sha256])
        detail = "It was released, but is still in quarantine."
        self._places.report.found("leftover", f"rejected/{row.file_path}", detail, repaired=repaired)

    def _is_stored(self, sha256: str) -> bool:
        """Whether the store has these bytes, whole and with a row."""
        with transaction() as session:
            document = Documents(session).get(sha256)
        if document is None or document.state != "stored":
            return False
        return self._places.fault(document.file_path, sha256) is None

    @staticmethod
    def _is_forgotten(sha256: str) -> bool:
        with transaction() as session:
            return bool(Documents(session).forgotten([sha256]))

    @staticmethod
    def _known(parent: object) -> str | None:
        """The e-mail that a reason names, if there is one."""
        with transaction() as session:
            return parent if isinstance(parent, str) and Documents(session).get(parent) is not None else None

    def files(self) -> None:
        """Files that no row tells of, and rejected documents that quarantine does not tell of."""
        for path in self._unknown():
            if path.name.endswith(REASON):
                if self._places.repair:
                    path.unlink(missing_ok=True)
                detail = "A reason without its file."
                self._places.report.found("leftover", f"rejected/{path.name}", detail, repaired=self._places.repair)
            else:
                repaired = self._places.repair and path.is_file() and not path.is_symlink() and self._adopt(path)
                self._places.report.found(
                    "orphan", f"rejected/{path.name}", "No row tells of this file.", repaired=repaired
                )
        with transaction() as session:
            homeless = Consistency(session).homeless()
        for document_id in homeless:
            detail = "The document is rejected, and nothing in quarantine tells of it."
            self._places.report.found("missing", f"document {document_id}", detail)

    def _unknown(self) -> Iterator[Path]:
        """Old ones only: a copy is made before its row is committed."""
        folder = self._places.quarantine
        old = time.time() - YOUNG_S
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        names = {path.name for path in paths}
        for start in range(0, len(paths), 1000):
            block = [p for p in paths[start : start + 1000] if not p.name.startswith(".")]
            with transaction() as session:
                known = Consistency(session).known_rejected([p.name for p in block] + [_subject(p) for p in block])
            for path in block:
                has_subject = path.name.endswith(REASON) and (_subject(path) in known or _subject(path) in names)
                if path.name not in known and not has_subject and _came_before(old, path):
                    yield path

    def _adopt(self, path: Path) -> bool:
        """A row for a file without one; no second place for bytes that the store has, none for what was forgotten."""
        sha256, facts = sha256_of(path), read_reason(path)
        arrived_again = facts.get("category") == Forgotten.category
        parent = self._known(facts.get("parent"))
        gone = self._is_forgotten(sha256) and not arrived_again
        if self._is_stored(sha256) or gone or (parent is not None and self._is_forgotten(parent)):
            path.unlink(missing_ok=True)
            reason_path(path).unlink(missing_ok=True)
            return True
        rejection = Rejection(
            sha256=sha256,
            original_name=str(facts.get("name", path.name)),
            file_path=path.name,
            byte_size=path.stat().st_size,
            stage=str(facts.get("stage", "fsck")),
            category=str(facts.get("category", "orphan")),
            message=str(facts.get("reason", "It was in quarantine without a row.")),
            parent=parent,
        )
        if facts.get("sha256") != sha256:
            write_reason(path, facts_of(rejection))
        with transaction() as session:
            Documents(session).hold([sha256])
            RejectedDocuments(session).add(rejection)
        return True


def _came_before(time_s: float, path: Path) -> bool:
    try:
        return path.lstat().st_mtime <= time_s
    except FileNotFoundError:
        return False  # gone since it was listed: whoever was setting it aside has given it up


def _subject(path: Path) -> str:
    """The name of the file that a reason belongs to."""
    return path.name.removesuffix(REASON)

"""Documents, their arrivals, and what was refused."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.tables import OriginalDocument, RejectedDocument, Sighting


@dataclass(frozen=True)
class NewDocument:
    """What is known of a document when it arrives; `id` is its SHA-256."""

    id: str
    file_path: str
    original_name: str
    media_type: str
    byte_size: int
    parent_id: str | None = None


@dataclass(frozen=True)
class Arrival:
    """One sighting of a document; see `Sighting.arrival_key` for `arrival_key`."""

    document_id: str
    source: str
    name: str
    folder: str = ""
    author: str | None = None
    arrival_key: str | None = None


class Documents:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, documents: Sequence[NewDocument]) -> set[str]:
        """Insert those that are new; returns their ids. The others are known already, by content.

        Rows go in by ascending id, so that two transactions that bring the same documents wait instead of deadlocking.
        """
        if not documents:
            return set()
        unique = {d.id: d for d in sorted(documents, key=lambda d: d.id)}
        rows = insert(OriginalDocument).values([asdict(d) for d in unique.values()])
        return set(
            self._session.scalars(rows.on_conflict_do_nothing(index_elements=["id"]).returning(OriginalDocument.id))
        )

    def sight(self, arrivals: Sequence[Arrival]) -> int:
        """Record arrivals; one that is recorded already does not count again. Returns how many were new."""
        if not arrivals:
            return 0
        rows = insert(Sighting).values([asdict(a) for a in arrivals])
        added = self._session.scalars(
            rows.on_conflict_do_nothing(index_elements=["arrival_key"]).returning(Sighting.id)
        )
        return len(list(added))

    def get(self, document_id: str) -> OriginalDocument | None:
        return self._session.get(OriginalDocument, document_id)

    def many(self, ids: Collection[str]) -> dict[str, OriginalDocument]:
        found = self._session.scalars(select(OriginalDocument).where(OriginalDocument.id.in_(ids)))
        return {d.id: d for d in found}

    def states(self, ids: Sequence[str]) -> dict[str, str]:
        """State by id, of those that exist."""
        rows = self._session.execute(
            select(OriginalDocument.id, OriginalDocument.state).where(OriginalDocument.id.in_(ids))
        )
        return {row.id: row.state for row in rows}

    def set_page_count(self, document_id: str, pages: int) -> None:
        self._session.execute(
            update(OriginalDocument).where(OriginalDocument.id == document_id).values(page_count=pages)
        )

    def set_state(self, document_id: str, state: str, file_path: str | None = None) -> None:
        values: dict[str, str] = {"state": state} | ({"file_path": file_path} if file_path else {})
        self._session.execute(update(OriginalDocument).where(OriginalDocument.id == document_id).values(**values))

    def revive(self, documents: Sequence[NewDocument]) -> list[str]:
        """Documents that were rejected and have arrived again are stored again, for a new try; returns their ids."""
        paths = {d.id: d.file_path for d in documents}
        rejected = self._session.scalars(
            select(OriginalDocument.id).where(OriginalDocument.id.in_(paths), OriginalDocument.state == "rejected")
        ).all()
        for document_id in sorted(rejected):
            self.set_state(document_id, "stored", paths[document_id])
        if rejected:
            self._session.execute(
                update(RejectedDocument)
                .where(RejectedDocument.document_id.in_(rejected), RejectedDocument.released.is_(None))
                .values(released=func.clock_timestamp())
            )
        return sorted(rejected)

    def last_seen_as(self, folder: str, name: str) -> str | None:
        """Id of the document that last arrived under this name in this folder of the inbox."""
        return self._session.scalar(
            select(Sighting.document_id)
            .where(Sighting.folder == folder, Sighting.name == name)
            .order_by(Sighting.id.desc())
            .limit(1)
        )

    def sightings(self, document_id: str) -> Sequence[Sighting]:
        return self._session.scalars(
            select(Sighting).where(Sighting.document_id == document_id).order_by(Sighting.id)
        ).all()

    def keys_by_state(self) -> dict[str, str]:
        """Key of every document's bytes -> its state."""
        rows = self._session.execute(select(OriginalDocument.file_path, OriginalDocument.state))
        return {row.file_path: row.state for row in rows}

    def count(self) -> int:
        return self._session.scalar(select(func.count()).select_from(OriginalDocument)) or 0


@dataclass(frozen=True)
class Rejection:
    """One file in quarantine; `file_path` is relative to the quarantine folder."""

    sha256: str
    original_name: str
    file_path: str
    byte_size: int
    stage: str
    category: str
    message: str
    document_id: str | None = None
    attempts: int = 1


class RejectedDocuments:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, rejection: Rejection) -> None:
        """Record a rejection; the same bytes under the same name are one row, which says why the last time."""
        row = insert(RejectedDocument).values(**asdict(rejection))
        self._session.execute(
            row.on_conflict_do_update(
                index_elements=["file_path"],
                set_={
                    "stage": row.excluded.stage,
                    "category": row.excluded.category,
                    "message": row.excluded.message,
                    "attempts": RejectedDocument.attempts + row.excluded.attempts,
                    "document_id": func.coalesce(row.excluded.document_id, RejectedDocument.document_id),
                    "released": None,
                },
            )
        )

    def all(self, *, released: bool = False) -> Sequence[RejectedDocument]:
        """What is in quarantine; with `released`, also what was there once."""
        query = select(RejectedDocument).order_by(RejectedDocument.id)
        if not released:
            query = query.where(RejectedDocument.released.is_(None))
        return self._session.scalars(query).all()

    def by_category(self) -> dict[str, int]:
        rows = self._session.execute(
            select(RejectedDocument.category, func.count())
            .where(RejectedDocument.released.is_(None))
            .group_by(RejectedDocument.category)
        )
        return {row[0]: row[1] for row in rows}

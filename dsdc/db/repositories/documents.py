"""Documents, their arrivals, and what was refused."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, fields

from sqlalchemy import Select, case, func, null, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.tables import OriginalDocument, RejectedDocument, Sighting
from dsdc.errors import Forgotten


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
    """One sighting of a document; see `Sighting.arrival_key` for `arrival_key`. `parent_id`: the e-mail it came in."""

    document_id: str
    source: str
    name: str
    folder: str = ""
    author: str | None = None
    arrival_key: str | None = None
    parent_id: str | None = None


class Documents:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, documents: Sequence[NewDocument]) -> set[str]:
        """Insert those that are new; returns their ids. The others are known already, by content.

        Rows go in by ascending id, so that two transactions that bring the same documents wait instead of deadlocking.
        Until the transaction ends, nobody removes the documents' bytes; see `hold`.
        """
        if not documents:
            return set()
        self.hold([d.id for d in documents])
        unique = {d.id: d for d in sorted(documents, key=lambda d: d.id)}
        rows = insert(OriginalDocument).values([asdict(d) for d in unique.values()])
        return set(
            self._session.scalars(rows.on_conflict_do_nothing(index_elements=["id"]).returning(OriginalDocument.id))
        )

    def hold(self, ids: Collection[str]) -> None:
        """Until the transaction ends, nobody else decides whether the bytes of these documents stay or go.

        Whoever removes bytes holds their document first and then looks at its state; whoever records an arrival holds
        it too, and then looks whether the bytes are still there. `ids` are SHA-256, with a row or without.
        """
        self._session.execute(
            text("""
                SELECT pg_advisory_xact_lock(hashtext('dsdc.bytes'), one)
                FROM (SELECT DISTINCT hashtext(id) AS one FROM unnest(CAST(:ids AS text[])) AS id ORDER BY one) AS held
            """),
            {"ids": list(ids)},
        )

    def lock(self, document_id: str) -> None:
        """Until the transaction ends, no row is added that names this document."""
        row = select(OriginalDocument.id).where(OriginalDocument.id == document_id)
        self._session.execute(row.with_for_update()).all()

    def forgotten(self, ids: Collection[str]) -> set[str]:
        """Those of these documents that were forgotten on purpose."""
        d = OriginalDocument
        return set(self._session.scalars(select(d.id).where(d.id.in_(ids), d.state == "forgotten")))

    def refuse_forgotten(self, ids: Collection[str]) -> None:
        """Raise Forgotten if one of these documents was forgotten on purpose."""
        if self.forgotten(ids):
            raise Forgotten(
                "This document was forgotten on purpose, and is not taken again by itself.",
                hint="If it is to be kept after all, put it into data/to_ingest: from there it goes to quarantine, and"
                " `dsdc ingest --release ID` takes it back (`dsdc rejected` lists IDs).",
            )

    def remember(self, documents: Sequence[NewDocument]) -> None:
        """Documents that were forgotten are to be kept after all."""
        for document in sorted(documents, key=lambda d: d.id):
            values = {"state": "stored", "file_path": document.file_path, "original_name": document.original_name}
            row = update(OriginalDocument).where(OriginalDocument.id == document.id)
            self._session.execute(row.values(**values))

    def sight(self, arrivals: Sequence[Arrival]) -> set[str]:
        """Record arrivals; one that is recorded already does not count again. Returns the keys of those that were new.

        An arrival without a key is always new.
        """
        if not arrivals:
            return set()
        rows = insert(Sighting).values([asdict(a) for a in arrivals])
        added = self._session.scalars(
            rows.on_conflict_do_nothing(index_elements=["arrival_key"]).returning(Sighting.arrival_key)
        )
        return {key for key in added if key is not None}

    @staticmethod
    def emails() -> Select[str, str]:
        """Inputs of the unpack stage: every stored e-mail."""
        return select(OriginalDocument.id, OriginalDocument.id).where(
            OriginalDocument.state == "stored", OriginalDocument.media_type == "message/rfc822"
        )

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
        RejectedDocuments(self._session).release(rejected)
        return sorted(rejected)

    def sightings(self, document_id: str) -> Sequence[Sighting]:
        return self._session.scalars(
            select(Sighting).where(Sighting.document_id == document_id).order_by(Sighting.id)
        ).all()

    def stored(self) -> int:
        """How many documents are in the store: neither rejected nor forgotten."""
        query = select(func.count()).select_from(OriginalDocument).where(OriginalDocument.state == "stored")
        return self._session.scalar(query) or 0


@dataclass(frozen=True)
class Rejection:
    """One file in quarantine; `file_path` is relative to the quarantine folder, `parent` the e-mail it came in."""

    sha256: str
    original_name: str
    file_path: str
    byte_size: int
    stage: str
    category: str
    message: str
    document_id: str | None = None
    attempts: int = 1
    parent: str | None = None


class RejectedDocuments:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, rejection: Rejection) -> None:
        """Record a rejection; the same bytes under the same name are one row, which says why the last time.

        `rejection.attempts` counts all attempts so far, so that saying it twice counts once.
        """
        values = {f.name: getattr(rejection, f.name) for f in fields(Rejection) if f.name != "parent"}
        row = insert(RejectedDocument).values(**values, parents=[rejection.parent] if rejection.parent else None)
        before, now = RejectedDocument.parents, row.excluded.parents
        # What has come by itself once belongs to no e-mail.
        parents = case(
            (or_(before.is_(None), now.is_(None)), null()), (before.contains(now), before), else_=before + now
        )
        self._session.execute(
            row.on_conflict_do_update(
                index_elements=["file_path"],
                set_={
                    "stage": row.excluded.stage,
                    "category": row.excluded.category,
                    "message": row.excluded.message,
                    "attempts": func.greatest(RejectedDocument.attempts, row.excluded.attempts),
                    "document_id": func.coalesce(row.excluded.document_id, RejectedDocument.document_id),
                    "rejected": func.clock_timestamp(),
                    "released": None,
                    "parents": parents,
                },
            )
        )

    def get(self, rejected_id: int) -> RejectedDocument | None:
        return self._session.get(RejectedDocument, rejected_id)

    def files_of(self, sha256: str) -> list[str]:
        """Names in quarantine under which these bytes are, or were."""
        return list(self._session.scalars(select(RejectedDocument.file_path).where(RejectedDocument.sha256 == sha256)))

    def by_file(self, file_path: str) -> RejectedDocument | None:
        """What is known of a file in quarantine, also after its release."""
        return self._session.scalar(select(RejectedDocument).where(RejectedDocument.file_path == file_path))

    def release(self, sha256s: Collection[str]) -> None:
        """These bytes are in the store now, under whatever names they were set aside."""
        if sha256s:
            self._session.execute(
                update(RejectedDocument)
                .where(RejectedDocument.sha256.in_(sha256s), RejectedDocument.released.is_(None))
                .values(released=func.clock_timestamp())
            )

    def released_files(self, sha256s: Collection[str]) -> list[str]:
        """Names in quarantine of files with these bytes that have no business there any more."""
        query = select(RejectedDocument.file_path)
        rows = query.where(RejectedDocument.sha256.in_(sha256s), RejectedDocument.released.is_not(None))
        return list(self._session.scalars(rows.order_by(RejectedDocument.id)))

    def refused_again(self, rejected_id: int, *, stage: str, category: str, message: str, attempts: int) -> None:
        """A file that was to be released is refused once more; it stays. `attempts` counts this one too."""
        self._session.execute(
            update(RejectedDocument)
            .where(RejectedDocument.id == rejected_id)
            .values(stage=stage, category=category, message=message, attempts=attempts, rejected=func.clock_timestamp())
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

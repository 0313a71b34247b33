"""What answers stand on, and what became of documents: the views, and what belongs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from dsdc.db.repositories.questions import Questions

_DOCUMENTS = """
    (SELECT id FROM original_documents WHERE id BETWEEN :low AND :high ORDER BY id LIMIT :limit)
    UNION (SELECT document_sha256 FROM predictions WHERE document_sha256 BETWEEN :low AND :high
           ORDER BY document_sha256 LIMIT :limit)
    UNION (SELECT sha256 FROM rejected_documents WHERE sha256 BETWEEN :low AND :high ORDER BY sha256 LIMIT :limit)
    ORDER BY id LIMIT :limit
"""


@dataclass(frozen=True)
class LabelsGiven:
    """Documents of one class and split of a snapshot, labelled by one author through one source."""

    label: str
    split: str
    source: str
    author: str
    documents: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class MemberLabel:
    """One document of a snapshot, with the label that it was learnt by."""

    document_id: str
    label: str
    split: str
    label_id: int
    source: str
    author: str
    labelled: datetime
    superseded_by: int | None


class LineageStore:
    """Named so because `Lineage` is what the service answers."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def predictions_like(self, prefix: str, limit: int = 3) -> list[UUID]:
        """Predictions whose id begins so; `prefix` are hexadecimal digits, at most 32."""
        low, high = UUID(prefix.ljust(32, "0")), UUID(prefix.ljust(32, "f"))
        query = text("SELECT id FROM predictions WHERE id BETWEEN :low AND :high ORDER BY id LIMIT :limit")
        return list(self._session.scalars(query, {"low": low, "high": high, "limit": limit}))

    def documents_like(self, prefix: str, limit: int = 3) -> list[str]:
        """SHA-256 that begin so, of documents stored, predicted or rejected."""
        given = {"low": prefix, "high": prefix.ljust(64, "f"), "limit": limit}
        return list(self._session.scalars(text(_DOCUMENTS), given))

    def of_prediction(self, prediction_id: UUID) -> list[dict[str, Any]]:
        """Rows of `prediction_lineage`: one for each embedding that entered the answer."""
        rows = self._session.execute(
            text("SELECT * FROM prediction_lineage WHERE prediction_id = :id ORDER BY page, embedding_of"),
            {"id": prediction_id},
        )
        return [dict(r._mapping) for r in rows]

    def neighbours(self, prediction_id: UUID) -> list[dict[str, Any]]:
        """The neighbours that the answer named, with their labels in full."""
        return Questions(self._session).ask("who-labelled-the-neighbours", {"id": prediction_id})

    def events(self, document_id: str, *, after: int = 0, limit: int | None = None) -> list[dict[str, Any]]:
        """Rows of `document_lineage` in the order of time; `after` skips so many."""
        rows = self._session.execute(
            text("""
                SELECT at, event, what, processor, details, ref FROM document_lineage
                WHERE document_id = :id ORDER BY at, ref OFFSET :after LIMIT :limit
            """),
            {"id": document_id, "after": after, "limit": limit},
        )
        return [dict(r._mapping) for r in rows]

    def labels_given(self, snapshot_id: int) -> list[LabelsGiven]:
        """Who labelled the documents of a snapshot, in counts."""
        rows = self._session.execute(
            text("""
                SELECT m.label, m.split, l.source, l.author, count(*), min(l.created), max(l.created)
                FROM snapshot_members m JOIN labels l ON l.id = m.label_id
                WHERE m.snapshot_id = :snapshot GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4
            """),
            {"snapshot": snapshot_id},
        )
        return [LabelsGiven(*row) for row in rows]

    def members(
        self, snapshot_id: int, *, after: str = "", limit: int = 100, label: str | None = None
    ) -> list[MemberLabel]:
        """Documents of a snapshot by their id, beginning after one; all, or those of one class."""
        rows = self._session.execute(
            text("""
                SELECT m.document_id, m.label, m.split, l.id, l.source, l.author, l.created, l.superseded_by
                FROM snapshot_members m JOIN labels l ON l.id = m.label_id
                WHERE m.snapshot_id = :snapshot AND m.document_id > :after
                  AND (CAST(:label AS text) IS NULL OR m.label = :label)
                ORDER BY m.document_id LIMIT :limit
            """),
            {"snapshot": snapshot_id, "after": after, "limit": limit, "label": label},
        )
        return [MemberLabel(*row) for row in rows]

    def snapshot_of(self, prediction_id: UUID) -> int | None:
        """The snapshot that the answering model was trained on."""
        query = "SELECT m.snapshot_id FROM predictions p JOIN model_versions m ON m.id = p.model_version_id"
        return self._session.scalar(text(f"{query} WHERE p.id = :id"), {"id": prediction_id})

    def predictions_of(self, document_id: str) -> Sequence[UUID]:
        """All answers about a document, the oldest first."""
        query = text("SELECT id FROM predictions WHERE document_sha256 = :id ORDER BY created, id")
        return self._session.scalars(query, {"id": document_id}).all()

    def draw(self, seed: int, limit: int | None = None) -> Sequence[UUID]:
        """Answers whose documents were kept, in an order that the seed alone decides."""
        query = text("""
            SELECT id FROM predictions WHERE document_id IS NOT NULL
            ORDER BY md5(id::text || CAST(:seed AS text)) LIMIT :limit
        """)
        return self._session.scalars(query, {"seed": seed, "limit": limit}).all()

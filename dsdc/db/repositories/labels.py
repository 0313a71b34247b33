"""Labels: who said what class a document is, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from dsdc.db.tables import Label


@dataclass(frozen=True)
class CurrentLabel:
    """The standing label of a document: a person's word before an import's."""

    label_id: int
    document_id: str
    label: str
    source: str
    author: str
    created: datetime


class Labels:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(
        self,
        document_id: str,
        label: str,
        *,
        taxonomy: str,
        source: str,
        author: str,
        confidence: float | None = None,
        prediction_id: UUID | None = None,
    ) -> int:
        """State a label; an earlier statement of the same source is superseded, never changed.

        Saying the same again returns the standing statement's id.
        """
        # Statements about one document queue up behind each other, so that exactly one of them stands.
        self._session.execute(
            text("SELECT pg_advisory_xact_lock(hashtext('dsdc.label'), hashtext(:document))"), {"document": document_id}
        )
        standing = self._session.scalar(
            select(Label).where(
                Label.document_id == document_id,
                Label.taxonomy == taxonomy,
                Label.source == source,
                Label.superseded_by.is_(None),
            )
        )
        if standing is not None and standing.label == label and standing.author == author:
            return standing.id
        new_id = int(self._session.execute(text("SELECT nextval(pg_get_serial_sequence('labels', 'id'))")).scalar_one())
        if standing is not None:
            self._session.execute(update(Label).where(Label.id == standing.id).values(superseded_by=new_id))
        self._session.execute(
            text(
                "INSERT INTO labels (id, document_id, taxonomy, label, source, author, confidence, prediction_id)"
                " OVERRIDING SYSTEM VALUE"
                " VALUES (:id, :document, :taxonomy, :label, :source, :author, :confidence, :prediction)"
            ),
            {
                "id": new_id,
                "document": document_id,
                "taxonomy": taxonomy,
                "label": label,
                "source": source,
                "author": author,
                "confidence": confidence,
                "prediction": prediction_id,
            },
        )
        return new_id

    def current(self, taxonomy: str, document_ids: Sequence[str] | None = None) -> list[CurrentLabel]:
        """The standing labels, ordered by document; of all stored documents, or of those given."""
        query = text(
            "SELECT l.label_id, l.document_id, l.label, l.source, l.author, l.created FROM current_labels l"
            " JOIN original_documents d ON d.id = l.document_id AND d.state = 'stored'"
            " WHERE l.taxonomy = :taxonomy AND (CAST(:ids AS text[]) IS NULL OR l.document_id = ANY (:ids))"
            " ORDER BY l.document_id"
        )
        ids = None if document_ids is None else list(document_ids)
        rows = self._session.execute(query, {"taxonomy": taxonomy, "ids": ids})
        return [CurrentLabel(r.label_id, r.document_id, r.label, r.source, r.author, r.created) for r in rows]

    def history(self, document_id: str) -> Sequence[Label]:
        return self._session.scalars(select(Label).where(Label.document_id == document_id).order_by(Label.id)).all()

    def counts(self, taxonomy: str) -> dict[str, int]:
        """Standing labels by class."""
        rows = self._session.execute(
            text(
                "SELECT label, count(*) AS n FROM current_labels WHERE taxonomy = :taxonomy"
                " GROUP BY label ORDER BY label"
            ),
            {"taxonomy": taxonomy},
        )
        return {row.label: row.n for row in rows}

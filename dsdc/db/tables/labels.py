"""Statements "document d is of class c, says s, at time t"."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, BigId, Now, Sha256


class Label(Base):
    """Never changed, only superseded: `superseded_by` is the later statement of the same source."""

    __tablename__ = "labels"
    __table_args__ = (
        CheckConstraint("source IN ('human', 'import', 'zero-shot', 'model')", name="source_known"),
        CheckConstraint("confidence IS NULL OR confidence BETWEEN 0 AND 1", name="confidence_is_share"),
        CheckConstraint("label <> ''", name="not_empty"),
        # One standing statement of a source about a document: two at once are a conflict, not two labels.
        Index(
            "uq_labels_standing",
            "document_id",
            "taxonomy",
            "source",
            unique=True,
            postgresql_where=text("superseded_by IS NULL"),
        ),
        Index("ix_labels_label", "label"),
        Index("ix_labels_document_id", "document_id"),
    )

    id: Mapped[BigId]
    document_id: Mapped[Sha256] = mapped_column(ForeignKey("original_documents.id"))
    taxonomy: Mapped[str] = mapped_column(Text)
    label: Mapped[str] = mapped_column(Text)
    source: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float | None]
    prediction_id: Mapped[UUID | None] = mapped_column(ForeignKey("predictions.id"))
    created: Mapped[Now]
    # Deferred: the old row names the new one before the new one is there, within one transaction.
    superseded_by: Mapped[int | None] = mapped_column(
        BigInteger, ForeignKey("labels.id", deferrable=True, initially="DEFERRED")
    )

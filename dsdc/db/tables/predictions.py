"""Answers, with everything they stand on."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, Json, Now, Sha256


class Prediction(Base):
    """One answer. `document_sha256` stays when the document itself was not kept (`document_id` is NULL then)."""

    __tablename__ = "predictions"
    __table_args__ = (
        CheckConstraint("decision IN ('accept', 'review')", name="decision_known"),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability_is_share"),
        Index("ix_predictions_document_sha256", "document_sha256"),
        Index("ix_predictions_model_version_id", "model_version_id"),
        Index("ix_predictions_created", "created"),
        # Which answers named a document as neighbour.
        Index(
            "ix_predictions_neighbours",
            "neighbours",
            postgresql_using="gin",
            postgresql_ops={"neighbours": "jsonb_path_ops"},
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    document_sha256: Mapped[Sha256]
    document_id: Mapped[Sha256 | None] = mapped_column(ForeignKey("original_documents.id"))
    original_name: Mapped[str] = mapped_column(Text)
    pages: Mapped[int]
    model_version_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("model_versions.id"))
    embedding_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    label: Mapped[str] = mapped_column(Text)
    probability: Mapped[float]
    probabilities: Mapped[Json]
    prediction_set: Mapped[list[str]] = mapped_column(ARRAY(Text))
    decision: Mapped[str] = mapped_column(Text)
    neighbours: Mapped[list[Any]] = mapped_column(JSONB)
    versions: Mapped[Json]
    timings_ms: Mapped[Json]
    source: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(Text)
    created: Mapped[Now]

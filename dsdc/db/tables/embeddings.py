"""CLIP vectors of page images and page texts."""

from __future__ import annotations

from typing import Any

from pgvector.sqlalchemy import Vector
from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, BigId, Now


class Embedding(Base):
    """One vector of one page image or one page text. Width varies with the model, so each model has its own index.

    pgvector itself refuses NaN and infinity; the CHECKs refuse zero vectors and a width other than the one stated.
    """

    __tablename__ = "embeddings"
    __table_args__ = (
        CheckConstraint("(processed_image_id IS NULL) <> (processed_text_id IS NULL)", name="one_input"),
        CheckConstraint("vector_dims(embedding) = width", name="width_as_stated"),
        CheckConstraint("vector_norm(embedding) BETWEEN 0.99 AND 1.01", name="unit_length"),
        Index(
            "uq_embeddings_image",
            "processed_image_id",
            "processor_id",
            unique=True,
            postgresql_where=text("processed_image_id IS NOT NULL"),
        ),
        Index(
            "uq_embeddings_text",
            "processed_text_id",
            "processor_id",
            unique=True,
            postgresql_where=text("processed_text_id IS NOT NULL"),
        ),
    )

    id: Mapped[BigId]
    processed_image_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("processed_images.id"))
    processed_text_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("processed_texts.id"))
    clip_version: Mapped[str] = mapped_column(Text)
    width: Mapped[int]
    embedding: Mapped[Any] = mapped_column(Vector())
    processor_id: Mapped[int] = mapped_column(ForeignKey("processors.id"))
    created: Mapped[Now]

"""Text as it was read, and as it was cleaned."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, BigId, Json, Now, Sha256


class RawText(Base):
    """What one version of a reader found on one page. Empty text is a result: a blank page."""

    __tablename__ = "raw_texts"
    __table_args__ = (
        UniqueConstraint("processed_image_id", "processor_id"),
        CheckConstraint("extraction IN ('ocr', 'text-layer')", name="extraction_known"),
        CheckConstraint("confidence IS NULL OR confidence BETWEEN 0 AND 1", name="confidence_is_share"),
        Index("ix_raw_texts_document_id_page", "document_id", "page"),
        Index("ix_raw_texts_processor_id_document_id", "processor_id", "document_id"),
    )

    id: Mapped[BigId]
    document_id: Mapped[Sha256] = mapped_column(ForeignKey("original_documents.id"))
    page: Mapped[int]
    processed_image_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("processed_images.id"))
    raw_text: Mapped[str] = mapped_column(Text)
    extraction: Mapped[str] = mapped_column(Text)
    confidence: Mapped[float | None]
    words: Mapped[list[Any]] = mapped_column(JSONB)  # [text, left, top, width, height, confidence] each
    notes: Mapped[Json]
    processor_id: Mapped[int] = mapped_column(ForeignKey("processors.id"))
    created: Mapped[Now]


class ProcessedText(Base):
    """Cleaned text of one page; `changes` counts what cleaning did."""

    __tablename__ = "processed_texts"
    __table_args__ = (
        UniqueConstraint("raw_text_id", "processor_id"),
        Index("ix_processed_texts_processor_id", "processor_id"),
    )

    id: Mapped[BigId]
    raw_text_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("raw_texts.id"))
    processed_text: Mapped[str] = mapped_column(Text)
    changes: Mapped[Json]
    processor_id: Mapped[int] = mapped_column(ForeignKey("processors.id"))
    created: Mapped[Now]

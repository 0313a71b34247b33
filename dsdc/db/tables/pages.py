"""Page images."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, BigId, Now, Sha256


class ProcessedImage(Base):
    """One page of a document as pixels, made by one version of a renderer."""

    __tablename__ = "processed_images"
    __table_args__ = (
        UniqueConstraint("document_id", "page", "processor_id"),
        CheckConstraint("page >= 1 AND width > 0 AND height > 0", name="sizes_positive"),
        Index("ix_processed_images_processor_id", "processor_id"),
        Index("ix_processed_images_image_sha256", "image_sha256"),
    )

    id: Mapped[BigId]
    document_id: Mapped[Sha256] = mapped_column(ForeignKey("original_documents.id"))
    page: Mapped[int]
    image_file: Mapped[str] = mapped_column(Text)
    image_sha256: Mapped[Sha256]
    byte_size: Mapped[int] = mapped_column(BigInteger)
    width: Mapped[int]
    height: Mapped[int]
    mode: Mapped[str] = mapped_column(Text)
    dpi: Mapped[int | None]
    dhash: Mapped[int | None] = mapped_column(BigInteger)
    processor_id: Mapped[int] = mapped_column(ForeignKey("processors.id"))
    created: Mapped[Now]

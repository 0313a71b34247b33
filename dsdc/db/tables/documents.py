"""Documents by content, every arrival of one, and what was refused."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, BigId, Now, Sha256, When


class OriginalDocument(Base):
    """One file by content; `id` is the SHA-256 of its bytes."""

    __tablename__ = "original_documents"
    __table_args__ = (
        CheckConstraint("id ~ '^[0-9a-f]{64}$'", name="id_is_sha256"),
        CheckConstraint("byte_size > 0", name="not_empty"),
        CheckConstraint("page_count IS NULL OR page_count > 0", name="pages_positive"),
        CheckConstraint("state IN ('stored', 'rejected', 'forgotten')", name="state_known"),
        Index("ix_original_documents_import_datetime", "import_datetime"),
    )

    id: Mapped[Sha256] = mapped_column(primary_key=True)
    file_path: Mapped[str] = mapped_column(Text)  # key in the store, relative
    original_name: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(Text)
    byte_size: Mapped[int] = mapped_column(BigInteger)
    page_count: Mapped[int | None]
    state: Mapped[str] = mapped_column(Text, server_default="stored")
    parent_id: Mapped[Sha256 | None] = mapped_column(ForeignKey("original_documents.id"))
    import_datetime: Mapped[Now]


class Sighting(Base):
    """One arrival of a document: where from, under which name, when."""

    __tablename__ = "sightings"
    __table_args__ = (
        CheckConstraint("source IN ('inbox', 'import', 'api', 'cli', 'attachment')", name="source_known"),
        Index("ix_sightings_document_id", "document_id"),
        Index("ix_sightings_parent_id", "parent_id", postgresql_where=text("parent_id IS NOT NULL")),
    )

    id: Mapped[BigId]
    document_id: Mapped[Sha256] = mapped_column(ForeignKey("original_documents.id"))
    source: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)  # as it arrived, undecodable bytes escaped
    folder: Mapped[str] = mapped_column(Text, server_default="")
    author: Mapped[str | None] = mapped_column(Text)  # user or run that brought it
    # Path, inode and change time of an arriving file: the same arrival met twice, after a crash between COMMIT and
    # the removal of the file or by two ingesters at once, is one sighting.
    arrival_key: Mapped[Sha256 | None] = mapped_column(unique=True)
    parent_id: Mapped[Sha256 | None] = mapped_column(ForeignKey("original_documents.id"))  # the e-mail it came in
    seen: Mapped[Now]


class AppliedStatement(Base):
    """One line of one arrival of a labels file that has found the file it is about, and is about no other any more.

    `statement` is a hash of both, so that no name outlives a document that is forgotten. `sighting_id` is the arrival
    that it labelled: no other labels file means that one. NULL where it labelled none.
    """

    __tablename__ = "applied_statements"
    __table_args__ = (Index("ix_applied_statements_sighting_id", "sighting_id"),)

    statement: Mapped[Sha256] = mapped_column(primary_key=True)
    sighting_id: Mapped[int | None] = mapped_column(BigInteger, ForeignKey("sightings.id"))
    applied: Mapped[Now]


class RejectedDocument(Base):
    """Bytes in quarantine, and why. `file_path` is relative to the quarantine folder."""

    __tablename__ = "rejected_documents"
    __table_args__ = (
        Index("ix_rejected_documents_sha256", "sha256"),
        Index("uq_rejected_documents_file_path", "file_path", unique=True),
        Index("ix_rejected_documents_parents", "parents", postgresql_using="gin"),
    )

    id: Mapped[BigId]
    sha256: Mapped[Sha256]
    document_id: Mapped[Sha256 | None] = mapped_column(ForeignKey("original_documents.id"))
    original_name: Mapped[str] = mapped_column(Text)
    file_path: Mapped[str] = mapped_column(Text)
    byte_size: Mapped[int] = mapped_column(BigInteger)
    stage: Mapped[str] = mapped_column(Text)
    category: Mapped[str] = mapped_column(Text)
    message: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(server_default="1")
    rejected: Mapped[Now]
    released: Mapped[When | None]
    # The e-mails that these bytes came in, if they came in no other way under this name; otherwise NULL.
    parents: Mapped[list[str] | None] = mapped_column(ARRAY(Text))

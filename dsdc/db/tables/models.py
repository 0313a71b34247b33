"""Dataset snapshots, trained models, and which of them serves."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, literal_column
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, BigId, Json, Now, Sha256


class DatasetSnapshot(Base):
    """A frozen set of (document, label, embeddings, split); equal content has one snapshot."""

    __tablename__ = "dataset_snapshots"
    __table_args__ = (
        # Which models were told by a document's pages, without its label, what documents have in common.
        Index(
            "ix_dataset_snapshots_archive",
            literal_column("(params -> 'archive')").label("archive"),
            postgresql_using="gin",
            postgresql_ops={"archive": "jsonb_path_ops"},
        ),
    )

    id: Mapped[BigId]
    content_sha256: Mapped[Sha256] = mapped_column(unique=True)
    taxonomy: Mapped[str] = mapped_column(Text)
    classes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    documents: Mapped[int]
    processors: Mapped[Json]  # stage -> processor id
    params: Mapped[Json]
    created: Mapped[Now]


class SnapshotMember(Base):
    """One document of a snapshot, with the very rows it was trained on."""

    __tablename__ = "snapshot_members"
    __table_args__ = (
        CheckConstraint("split IN ('train', 'valid', 'test') OR split ~ '^fold-[0-9]+$'", name="split_known"),
        Index("ix_snapshot_members_document_id", "document_id"),
        Index("ix_snapshot_members_label_id", "label_id"),
        Index("ix_snapshot_members_snapshot_id_label", "snapshot_id", "label"),
    )

    snapshot_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("dataset_snapshots.id"), primary_key=True)
    document_id: Mapped[Sha256] = mapped_column(ForeignKey("original_documents.id"), primary_key=True)
    label_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("labels.id"))
    label: Mapped[str] = mapped_column(Text)
    split: Mapped[str] = mapped_column(Text)
    duplicate_group: Mapped[int]
    embedding_ids: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    # Of the vectors' own bytes and the texts with their words; members of older snapshots have none.
    content_sha256: Mapped[Sha256 | None]


class ModelVersion(Base):
    """A registered head. Its bytes lie under `models/`, named by `head_sha256`."""

    __tablename__ = "model_versions"
    __table_args__ = (UniqueConstraint("name", "version"), Index("ix_model_versions_snapshot_id", "snapshot_id"))

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    mlflow_run_id: Mapped[str] = mapped_column(Text)
    head_sha256: Mapped[Sha256]
    recipe_sha256: Mapped[Sha256]
    snapshot_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("dataset_snapshots.id"))
    clip_processor_id: Mapped[int] = mapped_column(ForeignKey("processors.id"))
    clip_weights_sha256: Mapped[Sha256]
    classes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    metrics: Mapped[Json]
    calibration: Mapped[Json]
    code_commit: Mapped[str] = mapped_column(Text)
    airflow_run: Mapped[str | None] = mapped_column(Text)
    created: Mapped[Now]


class ModelAlias(Base):
    """History of `champion` and `challenger`: the newest row of an alias is the one in force."""

    __tablename__ = "model_aliases"
    __table_args__ = (Index("ix_model_aliases_name_alias_id", "name", "alias", "id"),)

    id: Mapped[BigId]
    name: Mapped[str] = mapped_column(Text)
    alias: Mapped[str] = mapped_column(Text)
    model_version_id: Mapped[int] = mapped_column(BigInteger, ForeignKey("model_versions.id"))
    author: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created: Mapped[Now]

"""Processors, and the work that is pending, under way or finished for each of their inputs."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, BigId, Json, Now, Sha256, When


class ProcessorVersion(Base):
    """A processor as it ran: name, version and parameters. Every derived row names one."""

    __tablename__ = "processors"
    __table_args__ = (UniqueConstraint("stage", "name", "version", "params_hash"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    stage: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    params_hash: Mapped[Sha256]
    params: Mapped[Json]
    created: Mapped[Now]


class StageAttempt(Base):
    """One input of one stage for one processor version: its claim, its attempts and its outcome.

    `fence` rises with each claim; a result is taken only from the claim that holds the current one. `attempts` counts
    claims, `failures` those that ended in an error, `crashes` those whose worker was never heard of again. `category`
    of a done input is `partial` where some pages of a document could not be had.
    """

    __tablename__ = "stage_attempts"
    __table_args__ = (
        UniqueConstraint("stage", "processor_id", "input_id"),
        CheckConstraint("state IN ('pending', 'running', 'done', 'skipped', 'failed')", name="state_known"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease_while_running"),
        # Only what can be claimed is in this index: claims stay fast however long the history grows.
        Index(
            "ix_stage_attempts_open",
            "stage",
            "processor_id",
            "available",
            postgresql_where=text("state IN ('pending', 'running')"),
        ),
        Index("ix_stage_attempts_failed", "stage", "finished", postgresql_where=text("state = 'failed'")),
        Index("ix_stage_attempts_document_id", "document_id"),
    )

    id: Mapped[BigId]
    stage: Mapped[str] = mapped_column(Text)
    processor_id: Mapped[int] = mapped_column(ForeignKey("processors.id"))
    input_id: Mapped[str] = mapped_column(Text)
    document_id: Mapped[Sha256] = mapped_column(ForeignKey("original_documents.id"))
    state: Mapped[str] = mapped_column(Text, server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    failures: Mapped[int] = mapped_column(server_default="0")
    crashes: Mapped[int] = mapped_column(server_default="0")
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    worker: Mapped[str | None] = mapped_column(Text)
    available: Mapped[Now]
    lease_until: Mapped[When | None]
    category: Mapped[str | None] = mapped_column(Text)
    message: Mapped[str | None] = mapped_column(Text)
    created: Mapped[Now]
    started: Mapped[When | None]
    finished: Mapped[When | None]

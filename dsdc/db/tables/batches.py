"""Many documents handed in at once, to be answered one after the other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dsdc.db.tables.base import Base, BigId, Now, Sha256, When


class PredictionBatch(Base):
    """What one request handed in. Until `received` is set its documents are still arriving, and nobody knows its id."""

    __tablename__ = "prediction_batches"
    __table_args__ = (
        Index("ix_prediction_batches_arriving", "created", postgresql_where=text("received IS NULL")),
        Index("ix_prediction_batches_owner", "owner", "created"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(Text)
    store: Mapped[bool]  # whether the documents are kept once they are answered
    created: Mapped[Now]
    received: Mapped[When | None]
    cancelled: Mapped[When | None]


class PredictionBatchItem(Base):
    """One document of a batch: its claim, its attempts and what became of it.

    `pending` to `failed` are as in `stage_attempts`; `refused` was not acceptable in the first place. `uploaded` says
    that its bytes may be in the store's area `uploads`: from before they are put there until they have been removed.
    """

    __tablename__ = "prediction_batch_items"
    __table_args__ = (
        UniqueConstraint("batch_id", "position"),
        CheckConstraint(
            "state IN ('arriving', 'pending', 'running', 'done', 'failed', 'refused', 'cancelled')", name="state_known"
        ),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease_while_running"),
        CheckConstraint("(state = 'done') = (prediction_id IS NOT NULL)", name="prediction_when_done"),
        CheckConstraint("(state IN ('failed', 'refused')) = (problem IS NOT NULL)", name="problem_when_not"),
        # Only what can be claimed is in this index: claims stay fast however long the history grows.
        Index(
            "ix_prediction_batch_items_open",
            "available",
            "id",
            postgresql_where=text("state IN ('pending', 'running')"),
        ),
        Index("ix_prediction_batch_items_uploaded", "sha256", postgresql_where=text("uploaded")),
        Index("ix_prediction_batch_items_sha256", "sha256"),
    )

    id: Mapped[BigId]
    batch_id: Mapped[UUID] = mapped_column(ForeignKey("prediction_batches.id"))
    position: Mapped[int]  # in the request, from 1
    name: Mapped[str] = mapped_column(Text)
    sha256: Mapped[Sha256]
    byte_size: Mapped[int] = mapped_column(BigInteger)
    uploaded: Mapped[bool]
    state: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(server_default="0")
    failures: Mapped[int] = mapped_column(server_default="0")
    crashes: Mapped[int] = mapped_column(server_default="0")
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    worker: Mapped[str | None] = mapped_column(Text)
    available: Mapped[Now]
    lease_until: Mapped[When | None]
    prediction_id: Mapped[UUID | None] = mapped_column(ForeignKey("predictions.id"))
    problem: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    created: Mapped[Now]
    started: Mapped[When | None]
    finished: Mapped[When | None]


class IdempotencyKey(Base):
    """A request that its sender may repeat: by whom, what was asked, and the id of what came of it.

    `fingerprint` is a hash of what the request said. `resource_id` is chosen before the work is begun, so that a
    repeat after a crash finds what the first attempt has left.
    """

    __tablename__ = "idempotency_keys"
    __table_args__ = (
        UniqueConstraint("owner", "operation", "key"),
        CheckConstraint("state IN ('pending', 'running', 'done')", name="state_known"),
        CheckConstraint("(state = 'running') = (lease_until IS NOT NULL)", name="lease_while_running"),
        Index("ix_idempotency_keys_expires", "expires"),
    )

    id: Mapped[BigId]
    owner: Mapped[str] = mapped_column(Text)
    operation: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[Sha256]
    resource_id: Mapped[UUID]
    state: Mapped[str] = mapped_column(Text)
    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    available: Mapped[Now]
    lease_until: Mapped[When | None]
    created: Mapped[Now]
    expires: Mapped[When]

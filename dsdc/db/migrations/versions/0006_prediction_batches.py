"""Batches of documents to predict, and requests that may be repeated.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _now(name: str) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False)


def _when(name: str, *, nullable: bool = True) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _count(name: str, kind: type[sa.Integer] = sa.Integer) -> sa.Column[int]:
    return sa.Column(name, kind(), server_default="0", nullable=False)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    _batches()
    _items()
    _keys()


def _batches() -> None:
    op.create_table(
        "prediction_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("store", sa.Boolean(), nullable=False),
        _now("created"),
        _when("received"),
        _when("cancelled"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prediction_batches")),
    )
    op.create_index(
        "ix_prediction_batches_arriving",
        "prediction_batches",
        ["created"],
        postgresql_where=sa.text("received IS NULL"),
    )
    op.create_index("ix_prediction_batches_owner", "prediction_batches", ["owner", "created"])


def _items() -> None:
    table = "prediction_batch_items"
    op.create_table(
        table,
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("byte_size", sa.BigInteger(), nullable=False),
        sa.Column("uploaded", sa.Boolean(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        _count("attempts"),
        _count("failures"),
        _count("crashes"),
        _count("fence", sa.BigInteger),
        sa.Column("worker", sa.Text(), nullable=True),
        _now("available"),
        _when("lease_until"),
        sa.Column("prediction_id", sa.Uuid(), nullable=True),
        sa.Column("problem", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        _now("created"),
        _when("started"),
        _when("finished"),
        sa.CheckConstraint(
            "state IN ('arriving', 'pending', 'running', 'done', 'failed', 'refused', 'cancelled')",
            name=op.f(f"ck_{table}_state_known"),
        ),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL)", name=op.f(f"ck_{table}_lease_while_running")
        ),
        sa.CheckConstraint(
            "(state = 'done') = (prediction_id IS NOT NULL)", name=op.f(f"ck_{table}_prediction_when_done")
        ),
        sa.CheckConstraint(
            "(state IN ('failed', 'refused')) = (problem IS NOT NULL)", name=op.f(f"ck_{table}_problem_when_not")
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["prediction_batches.id"], name=op.f(f"fk_{table}_batch_id_prediction_batches")
        ),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["predictions.id"], name=op.f(f"fk_{table}_prediction_id_predictions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("batch_id", "position", name=op.f(f"uq_{table}_batch_id_position")),
    )
    op.create_index(
        f"ix_{table}_open",
        table,
        ["available", "id"],
        postgresql_where=sa.text("state IN ('pending', 'running')"),
    )
    op.create_index(f"ix_{table}_uploaded", table, ["sha256"], postgresql_where=sa.text("uploaded"))


def _keys() -> None:
    table = "idempotency_keys"
    op.create_table(
        table,
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        _count("fence", sa.BigInteger),
        _now("available"),
        _when("lease_until"),
        _now("created"),
        _when("expires", nullable=False),
        sa.CheckConstraint("state IN ('pending', 'running', 'done')", name=op.f(f"ck_{table}_state_known")),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL)", name=op.f(f"ck_{table}_lease_while_running")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        sa.UniqueConstraint("owner", "operation", "key", name=op.f(f"uq_{table}_owner_operation_key")),
    )
    op.create_index(f"ix_{table}_expires", table, ["expires"])


def downgrade() -> None:
    for table in ("idempotency_keys", "prediction_batch_items", "prediction_batches"):
        op.drop_table(table)

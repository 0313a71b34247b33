"""Attachments know the e-mail that they came in; errors and crashes of an input are counted apart.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("sightings", sa.Column("parent_id", sa.String(length=64), nullable=True))
    op.create_foreign_key(
        op.f("fk_sightings_parent_id_original_documents"), "sightings", "original_documents", ["parent_id"], ["id"]
    )
    op.create_index(
        "ix_sightings_parent_id", "sightings", ["parent_id"], postgresql_where=sa.text("parent_id IS NOT NULL")
    )
    for name in ("failures", "crashes"):
        op.add_column("stage_attempts", sa.Column(name, sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    op.drop_column("stage_attempts", "crashes")
    op.drop_column("stage_attempts", "failures")
    op.drop_column("sightings", "parent_id")

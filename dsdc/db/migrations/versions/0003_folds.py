"""A snapshot's documents are in folds, each held out once; older snapshots keep their three parts.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NAME = "ck_snapshot_members_split_known"
_PARTS = "split IN ('train', 'valid', 'test')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.drop_constraint(op.f(_NAME), "snapshot_members", type_="check")
    op.create_check_constraint(op.f(_NAME), "snapshot_members", f"{_PARTS} OR split ~ '^fold-[0-9]+$'")


def downgrade() -> None:
    op.drop_constraint(op.f(_NAME), "snapshot_members", type_="check")
    # Snapshots in folds stay as they are; only new ones are refused.
    op.execute(f"ALTER TABLE snapshot_members ADD CONSTRAINT {_NAME} CHECK ({_PARTS}) NOT VALID")

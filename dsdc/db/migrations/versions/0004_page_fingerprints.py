"""Pages have a difference hash, by which scans of one sheet are told; those from before have none.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("processed_images", sa.Column("dhash", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    op.drop_column("processed_images", "dhash")

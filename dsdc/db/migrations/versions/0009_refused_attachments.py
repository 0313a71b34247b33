"""What was refused knows the e-mails that it came in.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    # What is there already counts as having come by itself, and no e-mail takes it along.
    op.add_column("rejected_documents", sa.Column("parents", postgresql.ARRAY(sa.Text()), nullable=True))
    op.create_index("ix_rejected_documents_parents", "rejected_documents", ["parents"], postgresql_using="gin")


def downgrade() -> None:
    op.drop_index("ix_rejected_documents_parents", "rejected_documents")
    op.drop_column("rejected_documents", "parents")

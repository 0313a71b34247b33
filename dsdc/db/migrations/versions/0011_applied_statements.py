"""Each line of a labels file is remembered once it has found its file.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Which label came from a labels file was not written down; what has one counts as labelled, and keeps it.
_BEFORE = """
INSERT INTO applied_statements (statement, sighting_id)
SELECT encode(sha256(convert_to('before 0011|' || s.id, 'UTF8')), 'hex'), s.id FROM sightings s
WHERE s.source = 'inbox'
    AND EXISTS (SELECT FROM labels l WHERE l.document_id = s.document_id AND l.source = 'import')
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_table(
        "applied_statements",
        sa.Column("statement", sa.String(64), nullable=False),
        sa.Column("sighting_id", sa.BigInteger(), nullable=True),
        sa.Column("applied", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["sighting_id"], ["sightings.id"], name=op.f("fk_applied_statements_sighting_id_sightings")
        ),
        sa.PrimaryKeyConstraint("statement", name=op.f("pk_applied_statements")),
    )
    op.create_index("ix_applied_statements_sighting_id", "applied_statements", ["sighting_id"])
    op.execute(_BEFORE)


def downgrade() -> None:
    op.drop_table("applied_statements")

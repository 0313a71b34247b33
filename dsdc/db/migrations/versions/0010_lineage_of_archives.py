"""A document's life tells of the models that were made with it without its label.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

from importlib import import_module

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# What models from no or few labels were made of beside their members: documents whose label, if any, was not looked at.
# Whoever is a member too is told of by that. OFFSET 0: else the planner reads the long lists of all snapshots, and not
# the index of them.
_ARCHIVED = """
FROM original_documents d CROSS JOIN LATERAL (
    SELECT id, created, content_sha256, documents FROM dataset_snapshots
    WHERE params -> 'archive' @> to_jsonb(d.id::text) OFFSET 0
) ds
"""
_NO_MEMBER = """
WHERE NOT EXISTS (SELECT FROM snapshot_members m WHERE m.snapshot_id = ds.id AND m.document_id = d.id)
"""
ARCHIVES = f"""
UNION ALL
SELECT d.id::text, ds.created, 'in snapshot'::text, 'snapshot ' || ds.id, NULL::text,
       jsonb_build_object('snapshot_id', ds.id, 'sha256', ds.content_sha256, 'documents', ds.documents,
                          'label', NULL, 'label_id', NULL, 'split', NULL, 'without_label', true),
       'dataset_snapshots:' || ds.id
{_ARCHIVED} {_NO_MEMBER}
UNION ALL
SELECT d.id::text, v.created, 'trained on'::text, v.name || ' ' || v.version, NULL::text,
       jsonb_build_object('model_version_id', v.id, 'snapshot_id', ds.id, 'label', NULL, 'split', NULL,
                          'head_sha256', v.head_sha256, 'code_commit', v.code_commit,
                          'mlflow_run_id', v.mlflow_run_id, 'airflow_run', v.airflow_run, 'without_label', true),
       'model_versions:' || v.id
{_ARCHIVED} JOIN model_versions v ON v.snapshot_id = ds.id {_NO_MEMBER}
"""


def _replaced(more: str = "") -> str:
    """The view as 0007 made it, with more; replacing it keeps the roles' grants."""
    before: str = import_module("dsdc.db.migrations.versions.0007_lineage").DOCUMENT_LINEAGE
    return before.replace("CREATE VIEW", "CREATE OR REPLACE VIEW") + more


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_index(
        "ix_dataset_snapshots_archive",
        "dataset_snapshots",
        [sa.text("(params -> 'archive') jsonb_path_ops")],
        postgresql_using="gin",
    )
    op.execute(_replaced(ARCHIVES))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute(_replaced())
    op.drop_index("ix_dataset_snapshots_archive", "dataset_snapshots")

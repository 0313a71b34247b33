"""Documents can be forgotten; members of snapshots know what their content was.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# Nobody but the owner may delete lineage. This function lets the pipeline do exactly one thing: take out of the
# database what was made of a document that is marked as forgotten, and every name that it came under. What stays is a
# skeleton: hash, sizes, times, labels, membership in snapshots, verdicts. Doing it again changes nothing.
ERASE_DOCUMENT = """
CREATE FUNCTION erase_document(document text, problem jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    erased jsonb := '{}';
    n bigint;
    m bigint;
BEGIN
    IF EXISTS (SELECT FROM original_documents WHERE id = document AND state <> 'forgotten') THEN
        RAISE EXCEPTION 'document % is not marked as forgotten', document;
    END IF;
    DELETE FROM embeddings e USING processed_images i WHERE e.processed_image_id = i.id AND i.document_id = document;
    GET DIAGNOSTICS n = ROW_COUNT;
    DELETE FROM embeddings e USING processed_texts c, raw_texts t
        WHERE e.processed_text_id = c.id AND c.raw_text_id = t.id AND t.document_id = document;
    GET DIAGNOSTICS m = ROW_COUNT;
    erased := erased || jsonb_build_object('embeddings', n + m);
    DELETE FROM processed_texts c USING raw_texts t WHERE c.raw_text_id = t.id AND t.document_id = document;
    DELETE FROM raw_texts WHERE document_id = document;
    GET DIAGNOSTICS n = ROW_COUNT;
    erased := erased || jsonb_build_object('texts', n);
    DELETE FROM processed_images WHERE document_id = document;
    GET DIAGNOSTICS n = ROW_COUNT;
    erased := erased || jsonb_build_object('pages', n);
    UPDATE stage_attempts
        SET message = 'It was ' || state || '.', state = 'skipped', category = 'forgotten', lease_until = NULL,
            fence = fence + 1, finished = coalesce(finished, clock_timestamp())
        WHERE document_id = document AND category IS DISTINCT FROM 'forgotten';
    UPDATE original_documents SET original_name = '' WHERE id = document;
    UPDATE sightings SET name = '', folder = '' WHERE document_id = document AND (name <> '' OR folder <> '');
    GET DIAGNOSTICS n = ROW_COUNT;
    UPDATE predictions SET original_name = '' WHERE document_sha256 = document AND original_name <> '';
    GET DIAGNOSTICS m = ROW_COUNT;
    erased := erased || jsonb_build_object('names', n + m);
    UPDATE rejected_documents
        SET original_name = '', message = '', file_path = 'forgotten-' || id,
            released = coalesce(released, clock_timestamp())
        WHERE sha256 = document AND file_path <> 'forgotten-' || id;
    GET DIAGNOSTICS n = ROW_COUNT;
    erased := erased || jsonb_build_object('quarantined', n);
    UPDATE prediction_batch_items SET name = '' WHERE sha256 = document AND name <> '';
    UPDATE prediction_batch_items
        SET state = 'failed', problem = erase_document.problem, lease_until = NULL, fence = fence + 1,
            finished = clock_timestamp()
        WHERE sha256 = document AND state IN ('arriving', 'pending', 'running');
    UPDATE prediction_batch_items SET uploaded = false WHERE sha256 = document AND uploaded;
    RETURN erased;
END $$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.add_column("snapshot_members", sa.Column("content_sha256", sa.String(length=64), nullable=True))
    op.create_index("ix_prediction_batch_items_sha256", "prediction_batch_items", ["sha256"])
    op.execute(ERASE_DOCUMENT)
    op.execute("REVOKE ALL ON FUNCTION erase_document(text, jsonb) FROM PUBLIC")


def downgrade() -> None:
    op.execute("DROP FUNCTION erase_document(text, jsonb)")
    op.drop_index("ix_prediction_batch_items_sha256", "prediction_batch_items")
    op.drop_column("snapshot_members", "content_sha256")

"""What an answer stands on, in full; a document's whole life; and indexes for the questions that are asked of both.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


# One row for each embedding that entered the answer. The sighting is the arrival that the answer was asked for, which
# the service records under a key made of the prediction's id; else the document's first.
# New columns stand last: CREATE OR REPLACE keeps the roles' grants, and adds columns only there.
PREDICTION_LINEAGE = """
CREATE OR REPLACE VIEW prediction_lineage AS
SELECT p.id AS prediction_id, p.created AS predicted, p.label, p.probability, p.decision, p.author AS requested_by,
       p.document_sha256, d.original_name, d.media_type, d.byte_size, d.file_path, d.import_datetime,
       s.source AS sighting_source, s.name AS sighting_name, s.seen AS sighting_seen,
       i.page, i.image_file, i.image_sha256,
       rp.name AS renderer, rp.version AS renderer_version, rp.params_hash AS renderer_params_hash,
       t.id AS raw_text_id, t.extraction, t.confidence AS text_confidence,
       tp.name AS reader, tp.version AS reader_version, tp.params_hash AS reader_params_hash,
       c.id AS processed_text_id,
       cp.name AS cleaner, cp.version AS cleaner_version, cp.params_hash AS cleaner_params_hash,
       e.id AS embedding_id, CASE WHEN e.processed_image_id IS NULL THEN 'text' ELSE 'image' END AS embedding_of,
       e.clip_version, ep.version AS embedder_version, ep.params_hash AS embedder_params_hash,
       m.name AS model, m.version AS model_version, m.head_sha256, m.clip_weights_sha256, m.calibration,
       m.mlflow_run_id, m.airflow_run, m.code_commit,
       ds.id AS snapshot_id, ds.content_sha256 AS snapshot_sha256, ds.documents AS snapshot_documents,
       p.source AS requested_through, p.prediction_set, p.versions ->> 'evidence' AS evidence,
       p.versions -> 'cascade' AS cascade, p.versions, d.state AS document_state,
       s.folder AS sighting_folder, s.author AS sighting_author,
       ep.name AS embedder, ep.params ->> 'weights_sha256' AS embedder_weights_sha256,
       m.id AS model_version_id, m.recipe_sha256, m.created AS model_trained,
       ds.taxonomy, ds.created AS snapshot_taken
FROM predictions p
JOIN model_versions m ON m.id = p.model_version_id
JOIN dataset_snapshots ds ON ds.id = m.snapshot_id
LEFT JOIN original_documents d ON d.id = p.document_id
LEFT JOIN LATERAL (
    SELECT source, name, seen, folder, author FROM sightings WHERE document_id = d.id
    ORDER BY (arrival_key IS NOT DISTINCT FROM
              encode(sha256(convert_to('prediction|' || p.id::text, 'UTF8')), 'hex')) DESC, id
    LIMIT 1
) s ON true
LEFT JOIN embeddings e ON e.id = ANY (p.embedding_ids)
LEFT JOIN processors ep ON ep.id = e.processor_id
LEFT JOIN processed_texts c ON c.id = e.processed_text_id
LEFT JOIN processors cp ON cp.id = c.processor_id
LEFT JOIN raw_texts t ON t.id = c.raw_text_id
LEFT JOIN processors tp ON tp.id = t.processor_id
LEFT JOIN processed_images i ON i.id = coalesce(e.processed_image_id, t.processed_image_id)
LEFT JOIN processors rp ON rp.id = i.processor_id
"""

_BY = "{0}.name || ' ' || {0}.version || ' (' || left({0}.params_hash, 12) || ')'".format("pr")

# Everything that happened to a document, one row an event. Each part gives exactly the same types: only then does
# PostgreSQL look for one document within each part, by its index, instead of putting all parts together first.
# `ref` names the row behind the event, and orders what happened at one moment.
DOCUMENT_LINEAGE = f"""
CREATE VIEW document_lineage AS
SELECT d.id::text AS document_id, d.import_datetime AS at, 'stored'::text AS event, d.original_name::text AS what,
       NULL::text AS processor,
       jsonb_build_object('media_type', d.media_type, 'bytes', d.byte_size, 'pages', d.page_count,
                          'file', d.file_path, 'state', d.state) AS details,
       'original_documents:' || d.id AS ref
FROM original_documents d
UNION ALL
SELECT s.document_id::text, s.seen, 'arrived'::text, s.name::text, NULL::text,
       jsonb_build_object('source', s.source, 'folder', s.folder, 'author', s.author, 'parent', s.parent_id),
       'sightings:' || s.id
FROM sightings s
UNION ALL
SELECT s.parent_id::text, s.seen, 'unpacked'::text, s.name::text, NULL::text,
       jsonb_build_object('attachment', s.document_id), 'attachments:' || s.id
FROM sightings s WHERE s.parent_id IS NOT NULL
UNION ALL
SELECT i.document_id::text, i.created, 'rendered'::text, 'page ' || i.page, {_BY},
       jsonb_build_object('page', i.page, 'image_sha256', i.image_sha256, 'file', i.image_file,
                          'width', i.width, 'height', i.height, 'dpi', i.dpi),
       'processed_images:' || i.id
FROM processed_images i JOIN processors pr ON pr.id = i.processor_id
UNION ALL
SELECT t.document_id::text, t.created, 'read'::text, 'page ' || t.page, {_BY},
       jsonb_build_object('page', t.page, 'raw_text_id', t.id, 'extraction', t.extraction,
                          'confidence', t.confidence, 'characters', length(t.raw_text)),
       'raw_texts:' || t.id
FROM raw_texts t JOIN processors pr ON pr.id = t.processor_id
UNION ALL
SELECT t.document_id::text, c.created, 'cleaned'::text, 'page ' || t.page, {_BY},
       jsonb_build_object('page', t.page, 'raw_text_id', t.id, 'processed_text_id', c.id, 'changes', c.changes,
                          'characters', length(c.processed_text)),
       'processed_texts:' || c.id
FROM raw_texts t JOIN processed_texts c ON c.raw_text_id = t.id JOIN processors pr ON pr.id = c.processor_id
UNION ALL
SELECT i.document_id::text, e.created, 'embedded'::text, 'image of page ' || i.page, {_BY},
       jsonb_build_object('page', i.page, 'embedding_id', e.id, 'clip_version', e.clip_version, 'width', e.width,
                          'weights_sha256', pr.params -> 'weights_sha256'),
       'embeddings:' || e.id
FROM processed_images i JOIN embeddings e ON e.processed_image_id = i.id JOIN processors pr ON pr.id = e.processor_id
UNION ALL
SELECT t.document_id::text, e.created, 'embedded'::text, 'text of page ' || t.page, {_BY},
       jsonb_build_object('page', t.page, 'embedding_id', e.id, 'clip_version', e.clip_version, 'width', e.width,
                          'weights_sha256', pr.params -> 'weights_sha256'),
       'embeddings:' || e.id
FROM raw_texts t JOIN processed_texts c ON c.raw_text_id = t.id JOIN embeddings e ON e.processed_text_id = c.id
JOIN processors pr ON pr.id = e.processor_id
UNION ALL
SELECT a.document_id::text, coalesce(a.finished, a.started, a.created), 'attempt'::text,
       a.stage || ' ' || a.state, {_BY},
       jsonb_build_object('stage', a.stage, 'state', a.state, 'input', a.input_id, 'attempts', a.attempts,
                          'failures', a.failures, 'crashes', a.crashes, 'worker', a.worker,
                          'category', a.category, 'message', a.message),
       'stage_attempts:' || a.id
FROM stage_attempts a JOIN processors pr ON pr.id = a.processor_id
UNION ALL
SELECT r.sha256::text, r.rejected, 'rejected'::text, r.original_name::text, NULL::text,
       jsonb_build_object('stage', r.stage, 'category', r.category, 'message', r.message, 'attempts', r.attempts,
                          'file', r.file_path),
       'rejected_documents:' || r.id
FROM rejected_documents r
UNION ALL
SELECT r.sha256::text, r.released, 'released'::text, r.original_name::text, NULL::text,
       jsonb_build_object('file', r.file_path), 'released_documents:' || r.id
FROM rejected_documents r WHERE r.released IS NOT NULL
UNION ALL
SELECT l.document_id::text, l.created, CASE WHEN l.prediction_id IS NULL THEN 'labelled' ELSE 'feedback' END,
       l.label::text, NULL::text,
       jsonb_build_object('label_id', l.id, 'taxonomy', l.taxonomy, 'source', l.source, 'author', l.author,
                          'confidence', l.confidence, 'prediction_id', l.prediction_id,
                          'superseded_by', l.superseded_by, 'superseded', n.created),
       'labels:' || l.id
FROM labels l LEFT JOIN labels n ON n.id = l.superseded_by
UNION ALL
SELECT m.document_id::text, ds.created, 'in snapshot'::text, 'snapshot ' || ds.id, NULL::text,
       jsonb_build_object('snapshot_id', ds.id, 'sha256', ds.content_sha256, 'documents', ds.documents,
                          'label', m.label, 'label_id', m.label_id, 'split', m.split),
       'snapshot_members:' || ds.id
FROM snapshot_members m JOIN dataset_snapshots ds ON ds.id = m.snapshot_id
UNION ALL
SELECT m.document_id::text, v.created, 'trained on'::text, v.name || ' ' || v.version, NULL::text,
       jsonb_build_object('model_version_id', v.id, 'snapshot_id', m.snapshot_id, 'label', m.label, 'split', m.split,
                          'head_sha256', v.head_sha256, 'code_commit', v.code_commit,
                          'mlflow_run_id', v.mlflow_run_id, 'airflow_run', v.airflow_run),
       'model_versions:' || v.id
FROM snapshot_members m JOIN model_versions v ON v.snapshot_id = m.snapshot_id
UNION ALL
SELECT p.document_sha256::text, p.created, 'predicted'::text, p.label::text, NULL::text,
       jsonb_build_object('prediction_id', p.id, 'model', v.name || ' ' || v.version, 'probability', p.probability,
                          'decision', p.decision, 'prediction_set', p.prediction_set, 'author', p.author,
                          'source', p.source, 'evidence', p.versions -> 'evidence', 'kept', p.document_id IS NOT NULL),
       'predictions:' || p.id
FROM predictions p JOIN model_versions v ON v.id = p.model_version_id
UNION ALL
SELECT a.subject::text, a.at, a.action::text, a.actor::text, NULL::text,
       a.details || jsonb_build_object('outcome', a.outcome), 'audit_log:' || a.id
FROM audit_log a WHERE a.action LIKE 'document.%'
"""  # noqa: S608 - the parts are constants

# As it was in 0001.
PREDICTION_LINEAGE_BEFORE = """
CREATE VIEW prediction_lineage AS
SELECT p.id AS prediction_id, p.created AS predicted, p.label, p.probability, p.decision, p.author AS requested_by,
       p.document_sha256, d.original_name, d.media_type, d.byte_size, d.file_path, d.import_datetime,
       s.source AS sighting_source, s.name AS sighting_name, s.seen AS sighting_seen,
       i.page, i.image_file, i.image_sha256,
       rp.name AS renderer, rp.version AS renderer_version, rp.params_hash AS renderer_params_hash,
       t.id AS raw_text_id, t.extraction, t.confidence AS text_confidence,
       tp.name AS reader, tp.version AS reader_version, tp.params_hash AS reader_params_hash,
       c.id AS processed_text_id,
       cp.name AS cleaner, cp.version AS cleaner_version, cp.params_hash AS cleaner_params_hash,
       e.id AS embedding_id, CASE WHEN e.processed_image_id IS NULL THEN 'text' ELSE 'image' END AS embedding_of,
       e.clip_version, ep.version AS embedder_version, ep.params_hash AS embedder_params_hash,
       m.name AS model, m.version AS model_version, m.head_sha256, m.clip_weights_sha256, m.calibration,
       m.mlflow_run_id, m.airflow_run, m.code_commit,
       ds.id AS snapshot_id, ds.content_sha256 AS snapshot_sha256, ds.documents AS snapshot_documents
FROM predictions p
JOIN model_versions m ON m.id = p.model_version_id
JOIN dataset_snapshots ds ON ds.id = m.snapshot_id
LEFT JOIN original_documents d ON d.id = p.document_id
LEFT JOIN LATERAL (
    SELECT source, name, seen FROM sightings WHERE document_id = d.id ORDER BY id LIMIT 1
) s ON true
LEFT JOIN embeddings e ON e.id = ANY (p.embedding_ids)
LEFT JOIN processors ep ON ep.id = e.processor_id
LEFT JOIN processed_texts c ON c.id = e.processed_text_id
LEFT JOIN processors cp ON cp.id = c.processor_id
LEFT JOIN raw_texts t ON t.id = c.raw_text_id
LEFT JOIN processors tp ON tp.id = t.processor_id
LEFT JOIN processed_images i ON i.id = coalesce(e.processed_image_id, t.processed_image_id)
LEFT JOIN processors rp ON rp.id = i.processor_id
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.create_index("ix_labels_document_id", "labels", ["document_id"])
    op.create_index("ix_model_versions_snapshot_id", "model_versions", ["snapshot_id"])
    op.create_index("ix_snapshot_members_snapshot_id_label", "snapshot_members", ["snapshot_id", "label"])
    op.create_index(
        "ix_predictions_neighbours",
        "predictions",
        ["neighbours"],
        postgresql_using="gin",
        postgresql_ops={"neighbours": "jsonb_path_ops"},
    )
    op.create_index(
        "ix_audit_log_of_documents", "audit_log", ["subject"], postgresql_where=sa.text("action LIKE 'document.%'")
    )
    # The documents of one version are read off the index, a page of them at a time.
    op.create_index("ix_raw_texts_processor_id_document_id", "raw_texts", ["processor_id", "document_id"])
    op.drop_index("ix_raw_texts_processor_id", "raw_texts")
    op.execute(PREDICTION_LINEAGE)
    op.execute(DOCUMENT_LINEAGE)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '10s'")
    op.execute("DROP VIEW document_lineage")
    op.execute("DROP VIEW prediction_lineage")
    op.execute(PREDICTION_LINEAGE_BEFORE)
    op.create_index("ix_raw_texts_processor_id", "raw_texts", ["processor_id"])
    op.drop_index("ix_raw_texts_processor_id_document_id", "raw_texts")
    op.drop_index("ix_audit_log_of_documents", "audit_log")
    op.drop_index("ix_predictions_neighbours", "predictions")
    op.drop_index("ix_snapshot_members_snapshot_id_label", "snapshot_members")
    op.drop_index("ix_model_versions_snapshot_id", "model_versions")
    op.drop_index("ix_labels_document_id", "labels")

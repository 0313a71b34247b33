"""The lineage store.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import Vector
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# The standing label of a document: a person's word before an import's, the newest first.
CURRENT_LABELS = """
CREATE VIEW current_labels AS
SELECT DISTINCT ON (document_id, taxonomy)
       id AS label_id, document_id, taxonomy, label, source, author, confidence, created
FROM labels
WHERE superseded_by IS NULL AND source IN ('human', 'import')
ORDER BY document_id, taxonomy, (source = 'human') DESC, id DESC
"""

# What a prediction stands on, one row for each embedding that entered it.
PREDICTION_LINEAGE = """
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

# Each model's vectors have their own width, so each has its own partial index. Only the owner may create one;
# this function lets the pipeline ask for exactly that and nothing else.
ENSURE_EMBEDDING_INDEX = """
CREATE FUNCTION ensure_embedding_index(processor integer, width integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF width > 2000 THEN
        RETURN;  -- beyond what HNSW can index; queries then scan
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('dsdc.embedding_index'), processor);
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS ix_embeddings_hnsw_image_%s ON embeddings '
        'USING hnsw ((embedding::vector(%s)) vector_cosine_ops) '
        'WHERE processor_id = %s AND processed_image_id IS NOT NULL', processor, width, processor);
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS ix_embeddings_hnsw_text_%s ON embeddings '
        'USING hnsw ((embedding::vector(%s)) vector_cosine_ops) '
        'WHERE processor_id = %s AND processed_text_id IS NOT NULL', processor, width, processor);
END $$
"""


def upgrade() -> None:
    op.create_table(
        "audit_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("address", postgresql.INET(), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"], unique=False)
    op.create_table(
        "dataset_snapshots",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("content_sha256", sa.String(length=64), nullable=False),
        sa.Column("taxonomy", sa.Text(), nullable=False),
        sa.Column("classes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("documents", sa.Integer(), nullable=False),
        sa.Column("processors", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dataset_snapshots")),
        sa.UniqueConstraint("content_sha256", name=op.f("uq_dataset_snapshots_content_sha256")),
    )
    op.create_table(
        "original_documents",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("original_name", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("byte_size", sa.BigInteger(), nullable=False),
        sa.Column("page_count", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), server_default="stored", nullable=False),
        sa.Column("parent_id", sa.String(length=64), nullable=True),
        sa.Column(
            "import_datetime", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("id ~ '^[0-9a-f]{64}$'", name=op.f("ck_original_documents_id_is_sha256")),
        sa.CheckConstraint(
            "state IN ('stored', 'rejected', 'forgotten')", name=op.f("ck_original_documents_state_known")
        ),
        sa.CheckConstraint("byte_size > 0", name=op.f("ck_original_documents_not_empty")),
        sa.CheckConstraint("page_count IS NULL OR page_count > 0", name=op.f("ck_original_documents_pages_positive")),
        sa.ForeignKeyConstraint(
            ["parent_id"], ["original_documents.id"], name=op.f("fk_original_documents_parent_id_original_documents")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_original_documents")),
    )
    op.create_index("ix_original_documents_import_datetime", "original_documents", ["import_datetime"], unique=False)
    op.create_table(
        "processors",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("params_hash", sa.String(length=64), nullable=False),
        sa.Column("params", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processors")),
        sa.UniqueConstraint(
            "stage", "name", "version", "params_hash", name=op.f("uq_processors_stage_name_version_params_hash")
        ),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("disabled", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column(
            "password_changed", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("name ~ '^[a-z0-9][a-z0-9._@-]{0,62}$'", name=op.f("ck_users_name_plain")),
        sa.CheckConstraint(
            "role IN ('viewer', 'annotator', 'model-admin', 'admin', 'service')", name=op.f("ck_users_role_known")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "model_versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("mlflow_run_id", sa.Text(), nullable=False),
        sa.Column("head_sha256", sa.String(length=64), nullable=False),
        sa.Column("recipe_sha256", sa.String(length=64), nullable=False),
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("clip_processor_id", sa.Integer(), nullable=False),
        sa.Column("clip_weights_sha256", sa.String(length=64), nullable=False),
        sa.Column("classes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("calibration", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("code_commit", sa.Text(), nullable=False),
        sa.Column("airflow_run", sa.Text(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["clip_processor_id"], ["processors.id"], name=op.f("fk_model_versions_clip_processor_id_processors")
        ),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["dataset_snapshots.id"], name=op.f("fk_model_versions_snapshot_id_dataset_snapshots")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("name", "version", name=op.f("uq_model_versions_name_version")),
    )
    op.create_table(
        "processed_images",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("page", sa.Integer(), nullable=False),
        sa.Column("image_file", sa.Text(), nullable=False),
        sa.Column("image_sha256", sa.String(length=64), nullable=False),
        sa.Column("byte_size", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("dpi", sa.Integer(), nullable=True),
        sa.Column("processor_id", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("page >= 1 AND width > 0 AND height > 0", name=op.f("ck_processed_images_sizes_positive")),
        sa.ForeignKeyConstraint(
            ["document_id"], ["original_documents.id"], name=op.f("fk_processed_images_document_id_original_documents")
        ),
        sa.ForeignKeyConstraint(
            ["processor_id"], ["processors.id"], name=op.f("fk_processed_images_processor_id_processors")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processed_images")),
        sa.UniqueConstraint(
            "document_id", "page", "processor_id", name=op.f("uq_processed_images_document_id_page_processor_id")
        ),
    )
    op.create_index("ix_processed_images_image_sha256", "processed_images", ["image_sha256"], unique=False)
    op.create_index("ix_processed_images_processor_id", "processed_images", ["processor_id"], unique=False)
    op.create_table(
        "refresh_tokens",
        sa.Column("jti_sha256", sa.String(length=64), nullable=False),
        sa.Column("family", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("issued", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_refresh_tokens_user_id_users")),
        sa.PrimaryKeyConstraint("jti_sha256", name=op.f("pk_refresh_tokens")),
    )
    op.create_index("ix_refresh_tokens_family", "refresh_tokens", ["family"], unique=False)
    op.create_table(
        "rejected_documents",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=True),
        sa.Column("original_name", sa.Text(), nullable=False),
        sa.Column("file_path", sa.Text(), nullable=False),
        sa.Column("byte_size", sa.BigInteger(), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="1", nullable=False),
        sa.Column("rejected", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("released", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["document_id"],
            ["original_documents.id"],
            name=op.f("fk_rejected_documents_document_id_original_documents"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rejected_documents")),
    )
    op.create_index("ix_rejected_documents_sha256", "rejected_documents", ["sha256"], unique=False)
    op.create_index("uq_rejected_documents_file_path", "rejected_documents", ["file_path"], unique=True)
    op.create_table(
        "sightings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("folder", sa.Text(), server_default="", nullable=False),
        sa.Column("author", sa.Text(), nullable=True),
        sa.Column("arrival_key", sa.String(length=64), nullable=True),
        sa.Column("seen", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint(
            "source IN ('inbox', 'import', 'api', 'cli', 'attachment')", name=op.f("ck_sightings_source_known")
        ),
        sa.ForeignKeyConstraint(
            ["document_id"], ["original_documents.id"], name=op.f("fk_sightings_document_id_original_documents")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sightings")),
        sa.UniqueConstraint("arrival_key", name=op.f("uq_sightings_arrival_key")),
    )
    op.create_index("ix_sightings_document_id", "sightings", ["document_id"], unique=False)
    op.create_table(
        "stage_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("processor_id", sa.Integer(), nullable=False),
        sa.Column("input_id", sa.Text(), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("available", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("started", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'running') = (lease_until IS NOT NULL)", name=op.f("ck_stage_attempts_lease_while_running")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'running', 'done', 'skipped', 'failed')", name=op.f("ck_stage_attempts_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["document_id"], ["original_documents.id"], name=op.f("fk_stage_attempts_document_id_original_documents")
        ),
        sa.ForeignKeyConstraint(
            ["processor_id"], ["processors.id"], name=op.f("fk_stage_attempts_processor_id_processors")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stage_attempts")),
        sa.UniqueConstraint(
            "stage", "processor_id", "input_id", name=op.f("uq_stage_attempts_stage_processor_id_input_id")
        ),
    )
    op.create_index("ix_stage_attempts_document_id", "stage_attempts", ["document_id"], unique=False)
    op.create_index(
        "ix_stage_attempts_failed",
        "stage_attempts",
        ["stage", "finished"],
        unique=False,
        postgresql_where=sa.text("state = 'failed'"),
    )
    op.create_index(
        "ix_stage_attempts_open",
        "stage_attempts",
        ["stage", "processor_id", "available"],
        unique=False,
        postgresql_where=sa.text("state IN ('pending', 'running')"),
    )
    op.create_table(
        "model_aliases",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_model_aliases_model_version_id_model_versions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_aliases")),
    )
    op.create_index("ix_model_aliases_name_alias_id", "model_aliases", ["name", "alias", "id"], unique=False)
    op.create_table(
        "predictions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("document_sha256", sa.String(length=64), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=True),
        sa.Column("original_name", sa.Text(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("embedding_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.Column("probabilities", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("prediction_set", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("decision", sa.Text(), nullable=False),
        sa.Column("neighbours", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("versions", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("timings_ms", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("decision IN ('accept', 'review')", name=op.f("ck_predictions_decision_known")),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name=op.f("ck_predictions_probability_is_share")),
        sa.ForeignKeyConstraint(
            ["document_id"], ["original_documents.id"], name=op.f("fk_predictions_document_id_original_documents")
        ),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_predictions_model_version_id_model_versions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
    )
    op.create_index("ix_predictions_created", "predictions", ["created"], unique=False)
    op.create_index("ix_predictions_document_sha256", "predictions", ["document_sha256"], unique=False)
    op.create_index("ix_predictions_model_version_id", "predictions", ["model_version_id"], unique=False)
    op.create_table(
        "raw_texts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("page", sa.Integer(), nullable=False),
        sa.Column("processed_image_id", sa.BigInteger(), nullable=False),
        sa.Column("raw_text", sa.Text(), nullable=False),
        sa.Column("extraction", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("words", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("notes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("processor_id", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint("extraction IN ('ocr', 'text-layer')", name=op.f("ck_raw_texts_extraction_known")),
        sa.CheckConstraint(
            "confidence IS NULL OR confidence BETWEEN 0 AND 1", name=op.f("ck_raw_texts_confidence_is_share")
        ),
        sa.ForeignKeyConstraint(
            ["document_id"], ["original_documents.id"], name=op.f("fk_raw_texts_document_id_original_documents")
        ),
        sa.ForeignKeyConstraint(
            ["processed_image_id"],
            ["processed_images.id"],
            name=op.f("fk_raw_texts_processed_image_id_processed_images"),
        ),
        sa.ForeignKeyConstraint(["processor_id"], ["processors.id"], name=op.f("fk_raw_texts_processor_id_processors")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raw_texts")),
        sa.UniqueConstraint(
            "processed_image_id", "processor_id", name=op.f("uq_raw_texts_processed_image_id_processor_id")
        ),
    )
    op.create_index("ix_raw_texts_document_id_page", "raw_texts", ["document_id", "page"], unique=False)
    op.create_index("ix_raw_texts_processor_id", "raw_texts", ["processor_id"], unique=False)
    op.create_table(
        "labels",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("taxonomy", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("prediction_id", sa.Uuid(), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.Column("superseded_by", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("label <> ''", name=op.f("ck_labels_not_empty")),
        sa.CheckConstraint("source IN ('human', 'import', 'zero-shot', 'model')", name=op.f("ck_labels_source_known")),
        sa.CheckConstraint(
            "confidence IS NULL OR confidence BETWEEN 0 AND 1", name=op.f("ck_labels_confidence_is_share")
        ),
        sa.ForeignKeyConstraint(
            ["document_id"], ["original_documents.id"], name=op.f("fk_labels_document_id_original_documents")
        ),
        sa.ForeignKeyConstraint(
            ["prediction_id"], ["predictions.id"], name=op.f("fk_labels_prediction_id_predictions")
        ),
        sa.ForeignKeyConstraint(
            ["superseded_by"],
            ["labels.id"],
            name=op.f("fk_labels_superseded_by_labels"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_labels")),
    )
    op.create_index("ix_labels_label", "labels", ["label"], unique=False)
    op.create_index(
        "uq_labels_standing",
        "labels",
        ["document_id", "taxonomy", "source"],
        unique=True,
        postgresql_where=sa.text("superseded_by IS NULL"),
    )
    op.create_table(
        "processed_texts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("raw_text_id", sa.BigInteger(), nullable=False),
        sa.Column("processed_text", sa.Text(), nullable=False),
        sa.Column("changes", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("processor_id", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["processor_id"], ["processors.id"], name=op.f("fk_processed_texts_processor_id_processors")
        ),
        sa.ForeignKeyConstraint(
            ["raw_text_id"], ["raw_texts.id"], name=op.f("fk_processed_texts_raw_text_id_raw_texts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processed_texts")),
        sa.UniqueConstraint("raw_text_id", "processor_id", name=op.f("uq_processed_texts_raw_text_id_processor_id")),
    )
    op.create_index("ix_processed_texts_processor_id", "processed_texts", ["processor_id"], unique=False)
    op.create_table(
        "embeddings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("processed_image_id", sa.BigInteger(), nullable=True),
        sa.Column("processed_text_id", sa.BigInteger(), nullable=True),
        sa.Column("clip_version", sa.Text(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("embedding", Vector(), nullable=False),
        sa.Column("processor_id", sa.Integer(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        sa.CheckConstraint(
            "(processed_image_id IS NULL) <> (processed_text_id IS NULL)", name=op.f("ck_embeddings_one_input")
        ),
        sa.CheckConstraint("vector_dims(embedding) = width", name=op.f("ck_embeddings_width_as_stated")),
        sa.CheckConstraint("vector_norm(embedding) BETWEEN 0.99 AND 1.01", name=op.f("ck_embeddings_unit_length")),
        sa.ForeignKeyConstraint(
            ["processed_image_id"],
            ["processed_images.id"],
            name=op.f("fk_embeddings_processed_image_id_processed_images"),
        ),
        sa.ForeignKeyConstraint(
            ["processed_text_id"], ["processed_texts.id"], name=op.f("fk_embeddings_processed_text_id_processed_texts")
        ),
        sa.ForeignKeyConstraint(
            ["processor_id"], ["processors.id"], name=op.f("fk_embeddings_processor_id_processors")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_embeddings")),
    )
    op.create_index(
        "uq_embeddings_image",
        "embeddings",
        ["processed_image_id", "processor_id"],
        unique=True,
        postgresql_where=sa.text("processed_image_id IS NOT NULL"),
    )
    op.create_index(
        "uq_embeddings_text",
        "embeddings",
        ["processed_text_id", "processor_id"],
        unique=True,
        postgresql_where=sa.text("processed_text_id IS NOT NULL"),
    )
    op.create_table(
        "snapshot_members",
        sa.Column("snapshot_id", sa.BigInteger(), nullable=False),
        sa.Column("document_id", sa.String(length=64), nullable=False),
        sa.Column("label_id", sa.BigInteger(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("split", sa.Text(), nullable=False),
        sa.Column("duplicate_group", sa.Integer(), nullable=False),
        sa.Column("embedding_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.CheckConstraint("split IN ('train', 'valid', 'test')", name=op.f("ck_snapshot_members_split_known")),
        sa.ForeignKeyConstraint(
            ["document_id"], ["original_documents.id"], name=op.f("fk_snapshot_members_document_id_original_documents")
        ),
        sa.ForeignKeyConstraint(["label_id"], ["labels.id"], name=op.f("fk_snapshot_members_label_id_labels")),
        sa.ForeignKeyConstraint(
            ["snapshot_id"], ["dataset_snapshots.id"], name=op.f("fk_snapshot_members_snapshot_id_dataset_snapshots")
        ),
        sa.PrimaryKeyConstraint("snapshot_id", "document_id", name=op.f("pk_snapshot_members")),
    )
    op.create_index("ix_snapshot_members_document_id", "snapshot_members", ["document_id"], unique=False)
    op.create_index("ix_snapshot_members_label_id", "snapshot_members", ["label_id"], unique=False)
    for statement in (CURRENT_LABELS, PREDICTION_LINEAGE, ENSURE_EMBEDDING_INDEX):
        op.execute(statement)


def downgrade() -> None:
    # The first schema has nothing before it; going back would be the loss of everything.
    raise NotImplementedError("Restore a backup instead.")

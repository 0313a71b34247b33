"""One file a noun. Migrations own the schema; a test holds that they and these classes agree."""

from dsdc.db.tables.base import Base
from dsdc.db.tables.batches import IdempotencyKey, PredictionBatch, PredictionBatchItem
from dsdc.db.tables.documents import AppliedStatement, OriginalDocument, RejectedDocument, Sighting
from dsdc.db.tables.embeddings import Embedding
from dsdc.db.tables.labels import Label
from dsdc.db.tables.models import DatasetSnapshot, ModelAlias, ModelVersion, SnapshotMember
from dsdc.db.tables.pages import ProcessedImage
from dsdc.db.tables.predictions import Prediction
from dsdc.db.tables.runs import ProcessorVersion, StageAttempt
from dsdc.db.tables.texts import ProcessedText, RawText
from dsdc.db.tables.users import ApiKey, AuditLog, RefreshToken, User

__all__ = [
    "ApiKey",
    "AppliedStatement",
    "AuditLog",
    "Base",
    "DatasetSnapshot",
    "Embedding",
    "IdempotencyKey",
    "Label",
    "ModelAlias",
    "ModelVersion",
    "OriginalDocument",
    "Prediction",
    "PredictionBatch",
    "PredictionBatchItem",
    "ProcessedImage",
    "ProcessedText",
    "ProcessorVersion",
    "RawText",
    "RefreshToken",
    "RejectedDocument",
    "Sighting",
    "SnapshotMember",
    "StageAttempt",
    "User",
]

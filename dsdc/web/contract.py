"""What goes over the wire: the services answer with these, and the Python client reads them. No HTTP framework here."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress

from dsdc.db.repositories.users import Outcome, Role

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Wire(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


# --- auth ---------------------------------------------------------------------------------------------------------


class Tokens(Wire):
    """`expires_in`: seconds that the access token lives. The refresh token is good once; an API key gives none."""

    access_token: str = Field(examples=["eyJ..."])
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: int = Field(examples=[900])
    refresh_token: str | None = Field(None, examples=["eyJ..."])


class Account(Wire):
    """A person, who signs in with a password, or a service account, which does with API keys."""

    id: UUID
    name: str = Field(examples=["ada"])
    kind: Literal["person", "service"]
    role: Role = Field(examples=["viewer"])
    disabled: datetime | None
    created: datetime


class ApiKey(Wire):
    """A service account's key, without the key: `prefix` is how it begins."""

    id: UUID
    user_id: UUID
    prefix: str = Field(examples=["dsdc_0123456789ab"])
    note: str = Field(examples=["the scanner in the post room"])
    created: datetime
    created_by: str = Field(examples=["ada"])
    expires: datetime | None
    last_used: datetime | None
    revoked: datetime | None


class NewApiKey(ApiKey):
    """`key` is told this once and is stored nowhere."""

    key: str = Field(examples=["dsdc_0123456789ab_..."])


class AuditEntry(Wire):
    """Who (`actor`, a name) did what (`action`) to whom (`subject`), from where, and how it went."""

    id: int
    at: datetime
    actor: str = Field(examples=["ada"])
    action: str = Field(examples=["session.begin"])
    subject: str
    outcome: Outcome
    request_id: str | None
    address: IPvAnyAddress | None = Field(examples=["192.0.2.7"])
    details: dict[str, Any]


class AuditPage(Wire):
    """The newest entries first; `next` is the `before` of the next page, or null on the last."""

    entries: list[AuditEntry]
    next: int | None


class PublicKey(Wire):
    """A JWK (RFC 7517)."""

    kty: Literal["EC"]
    crv: Literal["P-256"]
    x: str
    y: str
    kid: str
    alg: Literal["ES256"]
    use: Literal["sig"]


class KeySet(Wire):
    keys: list[PublicKey]


class Ended(Wire):
    """What was ended before its time: all tokens of a subject up to a Unix second, and whole sign-ins."""

    subjects: dict[str, int] = Field(examples=[{"00000000-0000-4000-8000-000000000001": 1767225600}])
    sessions: list[str]


# --- predict ------------------------------------------------------------------------------------------------------


class Ranked(Wire):
    label: str
    probability: Share


class Neighbour(Wire):
    """A labelled document that is near; similarity is the cosine, -1 to 1."""

    model_config = ConfigDict(extra="allow")

    document_id: Sha256
    label: str
    label_source: str
    similarity: float


class Prediction(Wire):
    """An answer. `document_id` is the SHA-256 of the document's bytes, whether or not it was kept."""

    model_config = ConfigDict(extra="allow")

    prediction_id: UUID
    document_id: Sha256
    label: str
    probability: Share
    top: list[Ranked]
    prediction_set: list[str]
    decision: Literal["accept", "review"]
    neighbours: list[Neighbour]
    versions: dict[str, Any]
    timings_ms: dict[str, float]
    original_name: str
    pages: int
    created: datetime


class Problem(Wire):
    """What was wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str | None = None


BatchState = Literal["queued", "running", "done", "cancelled"]
ItemState = Literal["pending", "running", "done", "failed", "refused", "cancelled"]


class Batch(Wire):
    """Documents handed in together. `counts` has every state of a document.

    `done`: every document has its answer or its problem. `cancelled`: what was not begun is not begun any more; what
    was running is finished still.
    """

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "batch_id": "5f0c3c1e-3a43-4f0b-9f6a-2f3f0b1d7a10",
                    "state": "running",
                    "store": True,
                    "owner": "ada",
                    "items": 200,
                    "counts": {"pending": 120, "running": 1, "done": 77, "failed": 1, "refused": 1, "cancelled": 0},
                    "created": "2026-01-01T12:00:00Z",
                    "cancelled": None,
                    "finished": None,
                }
            ]
        },
    )

    batch_id: UUID
    state: BatchState
    store: bool
    owner: str
    items: int
    counts: dict[ItemState, int]
    created: datetime
    cancelled: datetime | None
    finished: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether nothing of it will change any more."""
        return not (self.counts["pending"] or self.counts["running"])


class BatchItem(Wire):
    """One document of a batch; `position` counts from 1 as they were sent.

    `refused` was not acceptable when it arrived, `failed` could not be answered; both have a `problem`. What is `done`
    has a prediction.
    """

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "position": 1,
                    "name": "letter.pdf",
                    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "size": 48213,
                    "state": "done",
                    "attempts": 1,
                    "prediction_id": "0c7a2b2c-66e9-5d5e-9b0e-3f5a8e0a4b11",
                    "label": "letter",
                    "probability": 0.97,
                    "decision": "accept",
                    "problem": None,
                    "finished": "2026-01-01T12:00:04Z",
                }
            ]
        },
    )

    position: int
    name: str
    sha256: Sha256
    size: int
    state: ItemState
    attempts: int
    prediction_id: UUID | None
    label: str | None
    probability: Share | None
    decision: Literal["accept", "review"] | None
    problem: Problem | None
    finished: datetime | None


class BatchItems(Wire):
    """Documents by position; `next` is the `after` of the next page, null on the last."""

    items: list[BatchItem]
    next: int | None


class ProcessorUsed(Wire):
    name: str | None
    version: str | None
    params_hash: str | None


class TextUsed(Wire):
    raw_text_id: int | None
    extraction: str | None
    confidence: float | None
    processed_text_id: int | None
    reader: ProcessorUsed
    cleaner: ProcessorUsed


class EmbeddingUsed(Wire):
    embedding_id: int
    of: Literal["image", "text"]
    clip_version: str
    weights_sha256: str | None
    embedder: ProcessorUsed


class PageUsed(Wire):
    """One page, and what was made of it on the way to the answer."""

    page: int | None
    image_file: str | None
    image_sha256: str | None
    renderer: ProcessorUsed
    text: TextUsed | None
    embeddings: list[EmbeddingUsed]


class ArrivalUsed(Wire):
    """One arrival of a document: through what, under which name, brought by whom."""

    source: str
    name: str
    folder: str
    author: str | None
    seen: datetime


class DocumentUsed(Wire):
    """The bytes, and the arrival that was answered; only the hash where the document was not kept.

    `original_name` is that of the first arrival. Whoever sees only their own answers gets the name that they gave.
    """

    sha256: Sha256
    original_name: str | None
    media_type: str | None
    byte_size: int | None
    file_path: str | None
    imported: datetime | None
    state: str | None
    sighting: ArrivalUsed | None


class NeighbourUsed(Wire):
    """A neighbour that the answer named, with the label that it had then.

    `original_name`: only for those who see everybody's answers. `superseded_by`: the next statement of the same source;
    `label_now`: the document's label now, where another statement than this one stands, of whichever source. `split`:
    its part of the model's snapshot, null where it came later.
    """

    document_id: Sha256
    original_name: str | None
    state: str | None
    similarity: float
    label: str
    label_source: str
    author: str | None
    label_id: int | None
    labelled: datetime | None
    superseded_by: int | None
    label_now: str | None
    split: str | None


class ModelUsed(Wire):
    name: str
    version: int
    trained: datetime
    head_sha256: str
    recipe_sha256: str
    clip_weights_sha256: str
    calibration: dict[str, Any]
    mlflow_run_id: str
    airflow_run: str | None
    code_commit: str


class LabelsGiven(Wire):
    """How many labels of one class one author gave through one source, and when."""

    label: str
    source: str
    author: str
    documents: int
    first: datetime
    last: datetime


class SnapshotUsed(Wire):
    """What the model was trained on: `labels` counts documents by class and split, `given` by who labelled them.

    Each single label is at `/v1/predictions/{id}/lineage/labels`.
    """

    id: int
    sha256: str
    taxonomy: str
    taken: datetime
    documents: int
    labels: dict[str, dict[str, int]]
    given: list[LabelsGiven]


class Lineage(Wire):
    """Everything that an answer stands on."""

    prediction_id: UUID
    predicted: datetime
    label: str
    probability: Share
    decision: str
    prediction_set: list[str]
    requested_by: str
    requested_through: str
    evidence: str | None
    cascade: dict[str, Any] | None
    versions: dict[str, Any]
    document: DocumentUsed
    pages: list[PageUsed]
    neighbours: list[NeighbourUsed]
    model: ModelUsed
    snapshot: SnapshotUsed


class SnapshotLabel(Wire):
    """One document that a model has learnt, and the label that it was learnt by."""

    document_id: Sha256
    label: str
    split: str
    label_id: int
    source: str
    author: str
    labelled: datetime
    superseded_by: int | None


class SnapshotLabels(Wire):
    """Labels by document; `next` is the `after` of the next page, null on the last."""

    snapshot_id: int
    labels: list[SnapshotLabel]
    next: str | None


class DocumentEvent(Wire):
    """One thing that happened to a document; `ref` names the row that tells of it."""

    at: datetime
    event: str = Field(examples=["rendered"])
    what: str | None = Field(examples=["page 1"])
    processor: str | None = Field(examples=["pages 3 (0a1b2c3d4e5f)"])
    details: dict[str, Any]
    ref: str


class DocumentLineage(Wire):
    """A document's life in the order of time; `next` is the `after` of the next page, null on the last."""

    document_id: Sha256
    events: list[DocumentEvent]
    next: int | None


class LabelGiven(Wire):
    label_id: int
    document_id: Sha256
    label: str
    source: str
    author: str
    prediction_id: UUID | None = None


class Similar(Wire):
    document_id: Sha256
    neighbours: list[Neighbour]


class ClassInfo(Wire):
    slug: str
    name: str


class ModelInfo(Wire):
    """The model that answers now."""

    name: str
    version: int
    head_sha256: str
    clip: dict[str, Any]
    classes: list[ClassInfo]
    coverage: float
    review_threshold: float
    metrics: dict[str, Any]
    mlflow_run_id: str
    trained: datetime
    loaded: datetime

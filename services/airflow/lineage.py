"""What each task of the DAGs reads and writes, for OpenLineage events: tables by their names in PostgreSQL, and bytes.

Names follow https://openlineage.io/docs/spec/naming: `postgres://host:port` and `database.schema.table`. They hold no
user and no password.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.providers.openlineage.extractors.base import BaseExtractor, OperatorLineage
from openlineage.client.event_v2 import Dataset
from openlineage.client.transport.file import FileConfig, FileTransport

if TYPE_CHECKING:
    from dsdc.settings import Settings

Flow = tuple[Sequence[str], Sequence[str]]  # what is read, what is written

INBOX, RAW, PROCESSED, REJECTED, MODELS = (
    "bytes:to_ingest",
    "bytes:raw",
    "bytes:processed",
    "bytes:rejected",
    "bytes:models",
)
NOTHING: Flow = ((), ())
DAYS_KEPT = 30  # files of events; an idle platform writes some 14 MB a day

_STAGES: Mapping[str, Flow] = {
    "unpack": (("original_documents", RAW), ("original_documents", "sightings", "rejected_documents", RAW)),
    "render": (("original_documents", RAW), ("processed_images", PROCESSED)),
    "text": (("original_documents", "processed_images", RAW, PROCESSED), ("raw_texts",)),
    "clean": (("raw_texts",), ("processed_texts",)),
    "embed_images": (("processed_images", PROCESSED), ("embeddings",)),
    "embed_texts": (("processed_texts",), ("embeddings",)),
}

#: DAG -> task -> its flow.
FLOWS: Mapping[str, Mapping[str, Flow]] = {
    "ingest_and_process": {
        "ingest": ((INBOX,), ("original_documents", "sightings", "labels", "rejected_documents", RAW, REJECTED)),
        "plan": (("stage_attempts",), ()),
        **_STAGES,
        "report": (("stage_attempts", "rejected_documents"), ()),
        "announce": (("labels", "embeddings", "model_versions"), ()),
    },
    "reprocess": {
        "forecast": (("stage_attempts",), ()),
        "plan": NOTHING,
        **_STAGES,
        "report": (("stage_attempts",), ()),
    },
    "maintenance": {
        "retention": (
            ("original_documents", "sightings", "labels", "snapshot_members", "model_versions"),
            (
                *("original_documents", "sightings", "processed_images", "raw_texts", "processed_texts", "embeddings"),
                *("stage_attempts", "rejected_documents", "predictions", "prediction_batch_items", "audit_log"),
                *(RAW, PROCESSED, REJECTED),
            ),
        ),
        "fsck": (
            (
                *("original_documents", "sightings", "processed_images", "raw_texts", "processed_texts", "embeddings"),
                *("stage_attempts", "rejected_documents", RAW, PROCESSED, REJECTED),
            ),
            # What it mends when it is asked to.
            ("stage_attempts", "processed_images", "rejected_documents", RAW, PROCESSED, REJECTED),
        ),
    },
    "train_model": {
        "new_labels": (("labels", "embeddings", "model_versions"), ()),
        "train": (
            ("labels", "processed_images", "raw_texts", "embeddings"),
            ("dataset_snapshots", "snapshot_members", "model_versions", "model_aliases", MODELS),
        ),
    },
    "adapt_clip": {"adapt": (("processed_images", "processed_texts", "embeddings", PROCESSED), (MODELS,))},
    "simulate_arrivals": {"arrive": ((), (INBOX,))},
    "check_platform": {
        "database": NOTHING,
        "mlflow": NOTHING,
        "auth": NOTHING,
        "predict": NOTHING,
        "disk_space": NOTHING,
        "stuck_stages": (("stage_attempts",), ()),
    },
}


class TaskLineage(BaseExtractor):
    """Airflow asks it about every task of the kind that these DAGs are made of."""

    @classmethod
    def get_operator_classnames(cls) -> list[str]:
        return ["_PythonDecoratedOperator"]

    def _execute_extraction(self) -> OperatorLineage[Any, Any]:
        from dsdc.settings import settings

        reads, writes = FLOWS.get(self.operator.dag_id, {}).get(self.operator.task_id, NOTHING)
        config = settings()
        return OperatorLineage(
            inputs=[dataset(config, name) for name in reads], outputs=[dataset(config, name) for name in writes]
        )


def dataset(config: Settings, name: str) -> Dataset:
    """A table, or an area of bytes, under the name by which other systems know it."""
    if name.startswith("bytes:"):
        return _bytes(config, name.removeprefix("bytes:"))
    url = config.owner_url()
    return Dataset(f"postgres://{url.host}:{url.port or 5432}", f"{url.database}.public.{name}")


def _bytes(config: Settings, area: Any) -> Dataset:
    if config.storage.url and area in ("raw", "processed"):
        place = urlsplit(config.storage.url)
        bucket = place.netloc.rpartition("@")[2]
        return Dataset(f"{place.scheme}://{bucket}", f"{place.path.strip('/')}/{area}".strip("/"))
    return Dataset("file", str(config.path(area)))


class EventFile(FileTransport):
    """Events as lines of JSON, a file a day, in a folder that is made when it is missing; old files go."""

    kind = "dsdc-file"
    config_class = FileConfig

    def __init__(self, config: FileConfig) -> None:
        wanted = Path(config.log_file_path)
        wanted.parent.mkdir(parents=True, exist_ok=True)
        today = wanted.with_stem(f"{wanted.stem}-{datetime.now(UTC):%Y-%m-%d}")
        for old in sorted(wanted.parent.glob(f"{wanted.stem}-*{wanted.suffix}"))[:-DAYS_KEPT]:
            old.unlink(missing_ok=True)
        super().__init__(FileConfig(log_file_path=str(today), append=True))

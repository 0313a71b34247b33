"""Where the platform stands: rows, open work, failures, labels, the champion, and which services answer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import func, select

from dsdc.db.repositories.attempts import StageAttempts
from dsdc.db.repositories.documents import RejectedDocuments
from dsdc.db.repositories.labels import Labels
from dsdc.db.repositories.models import Models
from dsdc.db.repositories.predictions import Predictions
from dsdc.db.session import ping, schema_version, transaction
from dsdc.db.tables import Base
from dsdc.errors import DsdcError
from dsdc.pipeline.assembly import STAGES, Assembly, assemble
from dsdc.settings import Settings, local_url, settings

COUNTED = (
    "original_documents",
    "sightings",
    "processed_images",
    "raw_texts",
    "processed_texts",
    "embeddings",
    "labels",
    "predictions",
    "rejected_documents",
    "dataset_snapshots",
    "model_versions",
)


def platform_status() -> dict[str, Any]:
    """Everything at a glance, as JSON values.

    Raises:
        DatabaseUnavailable: without the database there is nothing to say.
    """
    config = settings()
    ready = assemble(config)
    return {
        "schema": schema_version(),
        "tables": table_counts(),
        "stages": stage_counts(ready),
        "rejected": _rejected(),
        "labels": _labels(config),
        "champion": champion(config),
        "predictions": _predictions(),
        "services": {name: check_service(url) for name, url in service_urls(config).items()},
        "disk_free_gb": round(shutil.disk_usage(config.root).free / 1e9, 1),
    }


def table_counts() -> dict[str, int]:
    """Exact number of rows of the tables that people ask about."""
    with transaction() as session:
        tables = Base.metadata.tables
        return {name: session.scalar(select(func.count()).select_from(tables[name])) or 0 for name in COUNTED}


def stage_counts(ready: Assembly) -> dict[str, dict[str, int]]:
    """For each stage, inputs by state; `pending` includes those that no worker has met yet."""
    counts: dict[str, dict[str, int]] = {}
    with transaction() as session:
        queue = StageAttempts(session)
        for name in STAGES:
            stage = ready.stage(name)
            states = dict.fromkeys(("pending", "running", "done", "skipped", "failed"), 0)
            states |= queue.counts(name, stage.processor_id)
            states["pending"] += queue.unmet(name, stage.processor_id, stage.inputs())
            counts[name] = states
    return counts


def _rejected() -> dict[str, int]:
    with transaction() as session:
        return RejectedDocuments(session).by_category()


def _labels(config: Settings) -> dict[str, int]:
    with transaction() as session:
        return Labels(session).counts(config.taxonomy.name)


def _predictions() -> dict[str, int]:
    with transaction() as session:
        return Predictions(session).counts()


def champion(config: Settings) -> dict[str, Any] | None:
    """Version and headline metrics of the model that serves; None before the first."""
    with transaction() as session:
        model = Models(session).with_alias(config.train.model_name, "champion")
        if model is None:
            return None
        return {
            "name": model.name,
            "version": model.version,
            "mlflow_run_id": model.mlflow_run_id,
            "head_sha256": model.head_sha256,
            "classes": len(model.classes),
            "metrics": {key: model.metrics[key] for key in ("accuracy", "macro_f1", "ece") if key in model.metrics},
            "trained": model.created.isoformat(),
        }


def service_urls(config: Settings) -> dict[str, str]:
    """Health address of each HTTP service."""
    return {
        "airflow": f"{config.airflow.url}/api/v2/monitor/health",
        "mlflow": f"{config.mlflow.uri}/health",
        "auth": f"{config.auth.url}/healthz",
        "predict": f"{config.streamlit.predict_url}/readyz",
        "streamlit": f"{local_url(config.streamlit.host, config.streamlit.port)}/_stcore/health",
        "prometheus": f"http://127.0.0.1:{config.monitoring.prometheus_port}/-/healthy",
    }


def check_service(url: str, *, timeout_s: float = 3.0) -> str:
    """`up`, or in words why not."""
    try:
        response = httpx.get(url, timeout=timeout_s, trust_env=False)
    except httpx.HTTPError as error:
        return f"down ({type(error).__name__})"
    return "up" if response.is_success else f"answers {response.status_code}"


@dataclass(frozen=True)
class Check:
    """One line of `dsdc doctor`: what was looked at, whether it is right, and what to do if not."""

    name: str
    ok: bool
    detail: str


def run_check(name: str, look: Callable[[], str]) -> Check:
    """Turn a look that returns a sentence or raises into a Check."""
    try:
        return Check(name, True, look())
    except DsdcError as error:
        return Check(name, False, str(error))


def database_check() -> str:
    """The schema version, or an error that says what is wrong with the database."""
    ping()
    return f"answers, schema {schema_version()}"

"""Stand-ins that keep the same contract as the real thing, for tests of what stands around it."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from dsdc.db.repositories.models import Models
from dsdc.db.repositories.predictions import NewPrediction, Predictions
from dsdc.db.session import transaction
from dsdc.errors import CorruptFile, NoChampion
from dsdc.settings import settings

HELD_S = 120.0  # nobody who forgets to let a document go is to hang for ever


@dataclass(frozen=True)
class StandInModel:
    name: str
    version: int
    head_sha256: str
    clip: dict[str, Any]
    classes: tuple[str, ...]
    display_names: dict[str, str]
    coverage: float = 0.9
    review_threshold: float = 0.5
    metrics: dict[str, Any] = field(default_factory=lambda: {"accuracy": 0.9})
    mlflow_run_id: str = "run"
    trained: datetime = field(default_factory=lambda: datetime.now(UTC))
    loaded: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class StandInAnswer:
    body: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        return self.body


class StandInAnswerer:
    """Answers without looking: the class follows from the hash. It loads and stores as the real one does.

    A document named `slow-<seconds>…` takes that long, one named `held…` until a file of its name lies in the project's
    folder; one named `broken…` cannot be read, `poison…` breaks an engine, and `deadly…` ends the process.
    """

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name
        self.model: StandInModel | None = None
        self._model_id = 0

    def load(self) -> StandInModel:
        with transaction("serve") as session:
            row = Models(session).with_alias(self._model_name, "champion")
        if row is None:
            raise NoChampion
        self._model_id = row.id
        names = {slug: slug.title() for slug in row.classes}
        self.model = StandInModel(
            row.name, row.version, row.head_sha256, {"model": "stand-in"}, tuple(row.classes), names
        )
        return self.model

    def answer(
        self,
        data: bytes,
        *,
        name: str,
        author: str,
        source: str = "api",
        store: bool = True,
        cascade: str | None = None,
        prediction_id: UUID | None = None,
    ) -> StandInAnswer:
        if name.startswith("slow-"):
            time.sleep(float(name.split("-")[1]))
        if name.startswith("held"):
            _hold(name)
        if name.startswith("poison"):
            raise RuntimeError("an engine broke")
        if name.startswith("deadly"):
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("broken"):
            raise CorruptFile("No page of the file can be read.", hint="Open it and save it again.")
        assert self.model is not None
        row = replace(self._row(data, name, author, source, self.model), id=prediction_id or uuid4())
        with transaction("serve") as session:
            created = Predictions(session).add(row)
        top = sorted(({"label": k, "probability": v} for k, v in row.probabilities.items()), key=_descending)[:5]
        return StandInAnswer(
            {
                "prediction_id": str(row.id),
                "document_id": row.document_sha256,
                "label": row.label,
                "probability": row.probability,
                "top": top,
                "prediction_set": row.prediction_set,
                "decision": row.decision,
                "neighbours": [],
                "versions": dict(row.versions),
                "timings_ms": dict(row.timings_ms),
                "original_name": name,
                "pages": row.pages,
                "created": created,
            }
        )

    def _row(self, data: bytes, name: str, author: str, source: str, model: StandInModel) -> NewPrediction:
        sha256 = hashlib.sha256(data).hexdigest()
        best = model.classes[int(sha256, 16) % len(model.classes)]
        rest = 0.3 / (len(model.classes) - 1)
        return NewPrediction(
            id=uuid4(),
            document_sha256=sha256,
            document_id=None,  # nothing was processed, so nothing is kept
            original_name=name,
            pages=1,
            model_version_id=self._model_id,
            embedding_ids=[],
            label=best,
            probability=0.7,
            probabilities={c: 0.7 if c == best else rest for c in model.classes},
            prediction_set=[best],
            decision="accept",
            neighbours=[],
            versions={"model": model.version},
            timings_ms={"total": 1.0},
            source=source,
            author=author,
        )


def _hold(name: str) -> None:
    end = time.monotonic() + HELD_S
    while not (settings().root / name).exists() and time.monotonic() < end:
        time.sleep(0.02)


def _descending(item: dict[str, Any]) -> tuple[float, str]:
    return -item["probability"], item["label"]

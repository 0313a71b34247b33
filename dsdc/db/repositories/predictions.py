"""Answers and what they stand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dsdc.db.tables import Prediction


@dataclass(frozen=True)
class NewPrediction:
    """One answer, as it is stored."""

    id: UUID
    document_sha256: str
    document_id: str | None
    original_name: str
    pages: int
    model_version_id: int
    embedding_ids: list[int]
    label: str
    probability: float
    probabilities: Mapping[str, float]
    prediction_set: list[str]
    decision: str
    neighbours: Sequence[Mapping[str, Any]]
    versions: Mapping[str, Any]
    timings_ms: Mapping[str, float]
    source: str
    author: str


class Predictions:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, prediction: NewPrediction) -> Any:
        """Store an answer; returns the database's time of it. One that is stored under this id already stays."""
        row = insert(Prediction).values(**asdict(prediction)).on_conflict_do_nothing(index_elements=["id"])
        created = self._session.scalar(row.returning(Prediction.created))
        if created is not None:
            return created
        return self._session.scalars(select(Prediction.created).where(Prediction.id == prediction.id)).one()

    def get(self, prediction_id: UUID) -> Prediction | None:
        return self._session.get(Prediction, prediction_id)

    def counts(self) -> dict[str, int]:
        """Answers by decision."""
        rows = self._session.execute(text("SELECT decision, count(*) AS n FROM predictions GROUP BY decision"))
        return {r.decision: r.n for r in rows}

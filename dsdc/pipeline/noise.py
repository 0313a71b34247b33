"""Labels that the champion doubts, each with what speaks against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.embeddings import Versions
from dsdc.db.repositories.labels import CurrentLabel, Labels
from dsdc.db.repositories.models import Snapshots
from dsdc.db.repositories.neighbours import Neighbour, Neighbours
from dsdc.db.session import transaction
from dsdc.db.tables import DatasetSnapshot
from dsdc.errors import NotFound
from dsdc.ml.heldout import HeldOut
from dsdc.ml.noise import Suspicion, suspicious
from dsdc.ml.registry import Registered, champion
from dsdc.settings import Settings

#: Of the suggested class, as far as they are among so many nearest of any class.
_NEIGHBOURS, _LOOKED_AT = 3, 50


@dataclass(frozen=True)
class DoubtedLabel:
    """A suspicion, who said the label and when, and labelled documents of the suggested class that are near."""

    suspicion: Suspicion
    name: str
    label: CurrentLabel
    neighbours: Sequence[Neighbour]

    def as_dict(self) -> dict[str, Any]:
        doubt = self.suspicion
        return {
            "document_id": doubt.document_id,
            "name": self.name,
            "label": doubt.given,
            "label_probability": round(doubt.given_probability, 4),
            "label_source": self.label.source,
            "author": self.label.author,
            "labelled": self.label.created.isoformat(),
            "suggested": doubt.suggested,
            "suggested_probability": round(doubt.suggested_probability, 4),
            "likely_error": doubt.likely_error,
            "fold": doubt.fold,
            "neighbours": [neighbour.as_dict() for neighbour in self.neighbours],
        }


@dataclass(frozen=True)
class NoiseReport:
    """The labels that most speaks against, of all `documents` that the model has learnt from.

    `doubted` are all with another answer than their label, `likely_errors` those of them that confident learning counts
    as wrong; `restated` more were doubted, but have been labelled again, or are gone, since the model was trained.
    """

    model: str
    version: int
    documents: int
    doubted: int
    likely_errors: int
    restated: int
    labels: Sequence[DoubtedLabel]

    def as_dict(self) -> dict[str, Any]:
        numbers = {key: value for key, value in vars(self).items() if key != "labels"}
        return numbers | {"labels": [label.as_dict() for label in self.labels]}


def suspicious_labels(config: Settings, *, limit: int) -> NoiseReport:
    """Rank the labels that the champion has learnt from by its held-out answers.

    Args:
        limit: how many to look at closely.

    Raises:
        NoChampion: before the first training. WeightsError: the champion's held-out answers cannot be read.
    """
    served = champion(config)
    held_out = HeldOut.load(served.folder)
    doubts = suspicious(held_out)
    with transaction() as session:
        snapshot = _snapshot(session, served)
        standing = _standing(session, snapshot)
        kept = [doubt for doubt in doubts if doubt.document_id in standing]
        labels = [_look(session, snapshot, doubt, standing[doubt.document_id]) for doubt in kept[:limit]]
    return NoiseReport(
        model=served.name,
        version=served.version,
        documents=len(held_out.document_ids),
        doubted=len(kept),
        likely_errors=sum(doubt.likely_error for doubt in kept),
        restated=len(doubts) - len(kept),
        labels=labels,
    )


def _snapshot(session: Session, served: Registered) -> DatasetSnapshot:
    found = Snapshots(session).get(served.snapshot_id)
    if found is None:
        raise NotFound(f"{served.name} {served.version} has no snapshot.", hint="Train a new model.")
    return found


def _standing(session: Session, snapshot: DatasetSnapshot) -> dict[str, CurrentLabel]:
    """By document, the labels of the snapshot that nobody has stated anew."""
    learnt = {member.document_id: member.label_id for member in Snapshots(session).members(snapshot.id)}
    current = Labels(session).current(snapshot.taxonomy, list(learnt))
    return {label.document_id: label for label in current if label.label_id == learnt[label.document_id]}


def _look(session: Session, snapshot: DatasetSnapshot, doubt: Suspicion, label: CurrentLabel) -> DoubtedLabel:
    """The evidence, by the embeddings that the model has learnt from."""
    versions = Versions(**{stage: int(snapshot.processors[stage]) for stage in ("render", "text", "clean", "embed")})
    document = Documents(session).get(doubt.document_id)
    near = Neighbours(session).of_document(doubt.document_id, versions, taxonomy=snapshot.taxonomy, limit=_LOOKED_AT)
    alike = [neighbour for neighbour in near if neighbour.label == doubt.suggested]
    return DoubtedLabel(doubt, "" if document is None else document.original_name, label, alike[:_NEIGHBOURS])

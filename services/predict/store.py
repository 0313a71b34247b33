"""What the routes ask the store; each function is one transaction in the role `serve`."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from dsdc.db.repositories.documents import Documents
from dsdc.db.repositories.embeddings import Versions
from dsdc.db.repositories.labels import Labels
from dsdc.db.repositories.models import Models, Snapshots
from dsdc.db.repositories.neighbours import Neighbours
from dsdc.db.repositories.predictions import Predictions
from dsdc.db.session import transaction
from dsdc.db.tables import Prediction as PredictionRow
from dsdc.errors import Conflict, NoChampion, NotFound
from dsdc.pipeline import labelling
from dsdc.web.contract import LabelGiven, Neighbour, Prediction, Ranked, Similar
from dsdc.web.guard import Caller


def prediction_for(prediction_id: UUID, caller: Caller, *, top: int) -> Prediction:
    """A stored answer, with its `top` most probable classes.

    Raises:
        NotFound: there is none, or it is another user's and the caller sees only their own.
    """
    with transaction("serve") as session:
        row = Predictions(session).get(prediction_id)
    if row is None or not (caller.sees_all or row.author == caller.name):
        raise NotFound("There is no such prediction.")
    return _prediction(row, top)


def is_predicted(prediction_id: UUID) -> bool:
    """Whether there is such an answer."""
    with transaction("serve") as session:
        return Predictions(session).get(prediction_id) is not None


def _prediction(row: PredictionRow, top: int) -> Prediction:
    ranked = sorted(row.probabilities.items(), key=lambda item: (-item[1], item[0]))[:top]
    return Prediction(
        prediction_id=row.id,
        document_id=row.document_sha256,
        label=row.label,
        probability=row.probability,
        top=[Ranked(label=label, probability=probability) for label, probability in ranked],
        prediction_set=row.prediction_set,
        decision=row.decision,
        neighbours=[Neighbour.model_validate(neighbour) for neighbour in row.neighbours],
        versions=row.versions,
        timings_ms=row.timings_ms,
        original_name=row.original_name,
        pages=row.pages,
        created=row.created,
    )


def label_prediction(prediction_id: UUID, label: str, *, taxonomy: str, author: str) -> LabelGiven:
    """A person's word about a predicted document.

    Raises:
        NotFound: there is no such prediction.
        Conflict: its document was not kept, so nothing can be trained on it.
    """
    with transaction("serve") as session:
        row = Predictions(session).get(prediction_id)
        if row is None:
            raise NotFound("There is no such prediction.")
        if row.document_id is None:
            raise Conflict("The document of this prediction was not kept.", hint="Predict it again with store=true.")
        if Documents(session).forgotten([row.document_id]):
            raise Conflict("The document of this prediction was forgotten.")
        label_id = Labels(session).add(
            row.document_id,
            label,
            taxonomy=taxonomy,
            source="human",
            author=author,
            prediction_id=prediction_id,
        )
    return LabelGiven(
        label_id=label_id,
        document_id=row.document_id,
        label=label,
        source="human",
        author=author,
        prediction_id=prediction_id,
    )


def label_document(document_id: str, label: str, *, taxonomy: str, author: str) -> LabelGiven:
    """A person's word about a document; NotFound where it is not stored."""
    with transaction("serve") as session:
        label_id = labelling.label_document(session, document_id, label, taxonomy=taxonomy, author=author)
    return LabelGiven(label_id=label_id, document_id=document_id, label=label, source="human", author=author)


def similar_to(document_id: str, *, model: str, taxonomy: str, limit: int) -> Similar:
    """The labelled documents nearest to a stored one, in the space that the champion sees.

    Raises:
        NotFound: the document is not stored.
        NoChampion: nothing has been trained, so no space is chosen.
    """
    with transaction("serve") as session:
        labelling.require_stored(session, document_id)
        versions = _champions_versions(session, model)
        found = Neighbours(session).of_document(document_id, versions, taxonomy=taxonomy, limit=limit)
    return Similar(document_id=document_id, neighbours=[Neighbour.model_validate(n.as_dict()) for n in found])


def _champions_versions(session: Session, model: str) -> Versions:
    """The processors whose rows the champion was trained on."""
    champion = Models(session).with_alias(model, "champion")
    snapshot = Snapshots(session).get(champion.snapshot_id) if champion else None
    if snapshot is None:
        raise NoChampion
    used = snapshot.processors
    return Versions(render=used["render"], text=used["text"], clean=used["clean"], embed=used["embed"])

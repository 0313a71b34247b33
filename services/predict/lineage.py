"""What answers stand on and what became of documents, as the service tells it."""

from __future__ import annotations

from dataclasses import asdict
from uuid import UUID

from dsdc.db.repositories.lineage import LineageStore
from dsdc.db.session import transaction
from dsdc.errors import NotFound
from dsdc.pipeline.lineage import told
from dsdc.web.contract import DocumentEvent, DocumentLineage, Lineage, SnapshotLabel, SnapshotLabels
from dsdc.web.guard import Caller


def lineage_of(prediction_id: UUID, caller: Caller) -> Lineage:
    """What an answer stands on, without names that others gave where the caller sees only their own answers.

    Raises:
        NotFound: there is no such prediction.
    """
    with transaction("serve") as session:
        found = Lineage.model_validate(told.of_prediction(session, prediction_id))
    return found if caller.sees_all else _own(found)


def _own(lineage: Lineage) -> Lineage:
    document, neighbours = lineage.document, lineage.neighbours
    arrival = document.sighting
    if arrival is not None and arrival.author != lineage.requested_by:
        arrival = None  # older answers have no arrival of their own: what is told then is the document's first
    name = arrival.name if arrival else None
    return lineage.model_copy(
        update={
            "document": document.model_copy(update={"sighting": arrival, "original_name": name}),
            "neighbours": [near.model_copy(update={"original_name": None}) for near in neighbours],
        }
    )


def labels_behind(prediction_id: UUID, *, label: str | None, after: str, limit: int) -> SnapshotLabels:
    """A page of what the answering model had learnt, by document, beginning after one.

    Raises:
        NotFound: there is no such prediction.
    """
    with transaction("serve") as session:
        store = LineageStore(session)
        snapshot_id = store.snapshot_of(prediction_id)
        if snapshot_id is None:
            raise NotFound("There is no such prediction.")
        found = store.members(snapshot_id, after=after, limit=limit + 1, label=label)
    labels = [SnapshotLabel.model_validate(asdict(member)) for member in found[:limit]]
    more = len(found) > limit
    return SnapshotLabels(snapshot_id=snapshot_id, labels=labels, next=labels[-1].document_id if more else None)


def life_of(document_id: str, *, after: int, limit: int) -> DocumentLineage:
    """A page of a document's life, beginning after so many events.

    Raises:
        NotFound: nothing ever happened to such a document.
    """
    with transaction("serve") as session:
        found = told.of_document(session, document_id, after=after, limit=limit + 1)
    events = [DocumentEvent.model_validate(event) for event in found[:limit]]
    return DocumentLineage(document_id=document_id, events=events, next=after + limit if len(found) > limit else None)

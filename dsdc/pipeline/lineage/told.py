"""What a prediction stands on, and what happened to a document, in the form in which service and command tell it.

Both read the views `prediction_lineage` and `document_lineage`; see there for what the names mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from dsdc.db.repositories.lineage import LabelsGiven, LineageStore
from dsdc.errors import NotFound

Row = Mapping[str, Any]


def of_prediction(session: Session, prediction_id: UUID) -> dict[str, Any]:
    """Everything that an answer stands on, but the single members of the snapshot, of which there may be a million.

    Raises:
        NotFound: there is no such prediction.
    """
    store = LineageStore(session)
    rows = store.of_prediction(prediction_id)
    if not rows:
        raise NotFound("There is no such prediction.")
    given = store.labels_given(rows[0]["snapshot_id"])
    return _grouped(rows, store.neighbours(prediction_id), given)


def of_document(session: Session, document_id: str, *, after: int = 0, limit: int | None = None) -> Sequence[Row]:
    """A document's life in the order of time, beginning after so many events.

    Raises:
        NotFound: nothing ever happened to such a document.
    """
    events = LineageStore(session).events(document_id, after=after, limit=limit)
    if not events and not after:
        raise NotFound("There is no such document.")
    return events


def _grouped(rows: Sequence[Row], neighbours: Sequence[Row], given: Sequence[LabelsGiven]) -> dict[str, Any]:
    """One structure from the rows of one prediction."""
    first = rows[0]
    names = ("prediction_id", "predicted", "label", "probability", "decision", "prediction_set", "requested_by")
    ordered = sorted(rows, key=lambda r: (r["page"] or 0, r["embedding_of"] or ""))
    pages = groupby(ordered, key=lambda r: r["page"])
    return {name: first[name] for name in (*names, "requested_through", "evidence", "cascade", "versions")} | {
        "document": _document(first),
        # A prediction whose document was not kept has one row without pages.
        "pages": [_page(list(of_page)) for page, of_page in pages if page is not None],
        "neighbours": [dict(neighbour) for neighbour in neighbours],
        "model": _model(first),
        "snapshot": _snapshot(first, given),
    }


def _document(row: Row) -> dict[str, Any]:
    sighting = {name: row[f"sighting_{name}"] for name in ("source", "name", "folder", "author", "seen")}
    return {
        "sha256": row["document_sha256"],
        "original_name": row["original_name"],
        "media_type": row["media_type"],
        "byte_size": row["byte_size"],
        "file_path": row["file_path"],
        "imported": row["import_datetime"],
        "state": row["document_state"],
        "sighting": sighting if row["sighting_source"] else None,
    }


def _page(rows: Sequence[Row]) -> dict[str, Any]:
    first = rows[0]
    read = next((row for row in rows if row["raw_text_id"] is not None), None)
    return {
        "page": first["page"],
        "image_file": first["image_file"],
        "image_sha256": first["image_sha256"],
        "renderer": _processor(first, "renderer"),
        "text": _text(read) if read else None,
        "embeddings": [_embedding(row) for row in rows if row["embedding_id"] is not None],
    }


def _text(row: Row) -> dict[str, Any]:
    return {
        "raw_text_id": row["raw_text_id"],
        "extraction": row["extraction"],
        "confidence": row["text_confidence"],
        "processed_text_id": row["processed_text_id"],
        "reader": _processor(row, "reader"),
        "cleaner": _processor(row, "cleaner"),
    }


def _embedding(row: Row) -> dict[str, Any]:
    return {
        "embedding_id": row["embedding_id"],
        "of": row["embedding_of"],
        "clip_version": row["clip_version"],
        "weights_sha256": row["embedder_weights_sha256"],
        "embedder": _processor(row, "embedder"),
    }


def _processor(row: Row, what: str) -> dict[str, Any]:
    return {"name": row[what], "version": row[f"{what}_version"], "params_hash": row[f"{what}_params_hash"]}


def _model(row: Row) -> dict[str, Any]:
    same = ("head_sha256", "recipe_sha256", "clip_weights_sha256", "calibration")
    runs = ("mlflow_run_id", "airflow_run", "code_commit")
    return {
        "name": row["model"],
        "version": row["model_version"],
        "trained": row["model_trained"],
        **{name: row[name] for name in (*same, *runs)},
    }


def _snapshot(row: Row, given: Sequence[LabelsGiven]) -> dict[str, Any]:
    labels: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for part in given:
        splits = labels[part.label]
        splits[part.split] = splits.get(part.split, 0) + part.documents
    return {
        "id": row["snapshot_id"],
        "sha256": row["snapshot_sha256"],
        "taxonomy": row["taxonomy"],
        "taken": row["snapshot_taken"],
        "documents": row["snapshot_documents"],
        "labels": dict(labels),
        "given": _given(given),
    }


def _given(parts: Sequence[LabelsGiven]) -> list[dict[str, Any]]:
    """By class, source and author, all splits together."""
    found = []
    ordered = sorted(parts, key=lambda p: (p.label, p.source, p.author))
    for (label, source, author), same in groupby(ordered, key=lambda p: (p.label, p.source, p.author)):
        of_one = list(same)
        found.append(
            {
                "label": label,
                "source": source,
                "author": author,
                "documents": sum(p.documents for p in of_one),
                "first": min(p.first for p in of_one),
                "last": max(p.last for p in of_one),
            }
        )
    return found

"""Rows of the view `prediction_lineage`, one for each embedding, grouped as people read them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any
from uuid import UUID

from dsdc.db.repositories.models import Snapshots
from dsdc.db.repositories.predictions import Predictions
from dsdc.db.session import transaction
from dsdc.db.tables import SnapshotMember
from dsdc.errors import NotFound
from dsdc.web.contract import (
    DocumentUsed,
    EmbeddingUsed,
    Lineage,
    ModelUsed,
    PageUsed,
    ProcessorUsed,
    SnapshotUsed,
    TextUsed,
)

Row = Mapping[str, Any]


def lineage_of(prediction_id: UUID) -> Lineage:
    """What an answer stands on.

    Raises:
        NotFound: there is no such prediction.
    """
    with transaction("serve") as session:
        rows = Predictions(session).lineage(prediction_id)
        if not rows:
            raise NotFound("There is no such prediction.")
        labels = _labels(Snapshots(session).members(rows[0]["snapshot_id"]))
    return grouped(rows, labels)


def _labels(members: Iterable[SnapshotMember]) -> dict[str, dict[str, int]]:
    """Documents of a snapshot by class and split."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for member in members:
        counts[member.label][member.split] += 1
    return {label: dict(splits) for label, splits in sorted(counts.items())}


def grouped(rows: Sequence[Row], labels: Mapping[str, Mapping[str, int]]) -> Lineage:
    """One structure from the rows of one prediction."""
    first = rows[0]
    ordered = sorted(rows, key=lambda r: (r["page"] or 0, r["embedding_of"] or ""))
    return Lineage(
        prediction_id=first["prediction_id"],
        predicted=first["predicted"],
        label=first["label"],
        probability=first["probability"],
        decision=first["decision"],
        requested_by=first["requested_by"],
        document=_document(first),
        pages=[
            _page(list(rows))
            for page, rows in groupby(ordered, key=lambda r: r["page"])
            if page is not None  # a prediction whose document was not kept has one row without pages
        ],
        model=_model(first),
        snapshot=SnapshotUsed(
            id=first["snapshot_id"],
            sha256=first["snapshot_sha256"],
            documents=first["snapshot_documents"],
            labels={label: dict(splits) for label, splits in labels.items()},
        ),
    )


def _document(row: Row) -> DocumentUsed:
    sighting = {"source": row["sighting_source"], "name": row["sighting_name"], "seen": row["sighting_seen"]}
    return DocumentUsed(
        sha256=row["document_sha256"],
        original_name=row["original_name"],
        media_type=row["media_type"],
        byte_size=row["byte_size"],
        file_path=row["file_path"],
        imported=row["import_datetime"],
        sighting=sighting if row["sighting_source"] else None,
    )


def _page(rows: list[Row]) -> PageUsed:
    first = rows[0]
    read = next((row for row in rows if row["raw_text_id"] is not None), None)
    return PageUsed(
        page=first["page"],
        image_file=first["image_file"],
        image_sha256=first["image_sha256"],
        renderer=_processor(first, "renderer"),
        text=_text(read) if read else None,
        embeddings=[_embedding(row) for row in rows if row["embedding_id"] is not None],
    )


def _text(row: Row) -> TextUsed:
    return TextUsed(
        raw_text_id=row["raw_text_id"],
        extraction=row["extraction"],
        confidence=row["text_confidence"],
        processed_text_id=row["processed_text_id"],
        reader=_processor(row, "reader"),
        cleaner=_processor(row, "cleaner"),
    )


def _embedding(row: Row) -> EmbeddingUsed:
    embedder = ProcessorUsed(
        name=row["clip_version"], version=row["embedder_version"], params_hash=row["embedder_params_hash"]
    )
    return EmbeddingUsed(
        embedding_id=row["embedding_id"], of=row["embedding_of"], clip_version=row["clip_version"], embedder=embedder
    )


def _processor(row: Row, what: str) -> ProcessorUsed:
    return ProcessorUsed(name=row[what], version=row[f"{what}_version"], params_hash=row[f"{what}_params_hash"])


def _model(row: Row) -> ModelUsed:
    return ModelUsed(
        name=row["model"],
        version=row["model_version"],
        head_sha256=row["head_sha256"],
        clip_weights_sha256=row["clip_weights_sha256"],
        calibration=row["calibration"],
        mlflow_run_id=row["mlflow_run_id"],
        airflow_run=row["airflow_run"],
        code_commit=row["code_commit"],
    )

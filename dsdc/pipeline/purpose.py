"""Whether a run met its purpose. A task that "ran" while documents were lost on the way is not a green task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from dsdc.db.repositories.embeddings import Embeddings, Versions
from dsdc.db.repositories.labels import Labels
from dsdc.db.repositories.models import Snapshots
from dsdc.db.session import transaction
from dsdc.db.tables import DatasetSnapshot, ModelVersion
from dsdc.errors import PurposeFailed
from dsdc.log import get_logger
from dsdc.ml.method import choose_method
from dsdc.pipeline.assembly import Assembly, assemble
from dsdc.pipeline.status import stage_counts
from dsdc.settings import Train, settings
from dsdc.taxonomy import Taxonomy

log = get_logger(__name__)

# One or two documents may well be all broken; a stage that fails at each of three has a fault of its own.
FEWEST = 3
# Of many documents, so large a share does not fail by chance.
MANY, SHARE = 10, 0.5


def open_work(ready: Assembly | None = None) -> dict[str, int]:
    """Inputs of each stage that are pending, due or not, or in a worker's hands."""
    counts = stage_counts(ready or assemble(settings()))
    return {stage: states["pending"] + states["running"] for stage, states in counts.items()}


def check_purpose(ingested: Mapping[str, Any], reports: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up a run of ingest and process, from the reports of its tasks.

    Args:
        ingested: an `IngestReport` as a dict; empty when the inbox was left alone.
        reports: `StageReport`s as dicts, one a worker and stage.

    Raises:
        PurposeFailed: work is still open, or failures are so many that the fault is not the documents'.
    """
    summary = {"ingest": dict(ingested), "stages": totals(reports), "open": open_work()}
    log.info("run.summary", **summary)
    faults = [*_left_open(summary["open"]), *_systemic(summary["stages"]), *_untaken(ingested)]
    if faults:
        raise PurposeFailed(" ".join(faults), hint="`dsdc status` shows what is open; the stages' logs say why.")
    return summary


def check_stages(reports: Sequence[Mapping[str, Any]], stages: Sequence[str]) -> dict[str, Any]:
    """Sum up a run over some stages, from the reports of its tasks.

    Raises:
        PurposeFailed: work of these stages is still open, or failures are so many that the fault is not the documents'.
    """
    work = {stage: number for stage, number in open_work().items() if stage in stages}
    summary: dict[str, Any] = {"stages": totals(reports), "open": work}
    log.info("run.summary", **summary)
    faults = [*_left_open(work), *_systemic(summary["stages"])]
    if faults:
        raise PurposeFailed(" ".join(faults), hint="`dsdc status` shows what is open; the stages' logs say why.")
    return summary


def totals(reports: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Stage -> inputs done (and of these partial), skipped, failed, retried, lost, failures by category."""
    sums: dict[str, dict[str, Any]] = {}
    for report in reports:
        stage = sums.setdefault(report["stage"], {"categories": {}})
        for key in ("done", "partial", "skipped", "failed", "retried", "lost"):
            stage[key] = stage.get(key, 0) + report[key]
        for category, number in report["categories"].items():
            stage["categories"][category] = stage["categories"].get(category, 0) + number
    return sums


def _left_open(work: Mapping[str, int]) -> list[str]:
    left = ", ".join(f"{stage} {number}" for stage, number in work.items() if number)
    return [f"Work is still open: {left}; what failed in passing is tried again by a later run."] if left else []


def _systemic(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    faults = []
    for stage, sums in stages.items():
        failed, good = sums["failed"], sums["done"] + sums["skipped"]
        if (failed >= FEWEST and not good) or (failed >= MANY and failed > SHARE * (failed + good)):
            kinds = ", ".join(f"{category} {number}" for category, number in sums["categories"].items())
            faults.append(f"Stage {stage}: {failed} of {failed + good} inputs failed ({kinds}).")
    return faults


def _untaken(ingested: Mapping[str, Any]) -> list[str]:
    skipped = ingested.get("skipped", 0)
    if skipped < FEWEST or ingested.get("taken", 0):
        return []
    return [f"None of {skipped} files of the inbox could be taken; may the pipeline's user read them?"]


def labelled_change() -> dict[str, int]:
    """What the newest model has not learnt: labelled, embedded documents new to it, or with another label now.

    The newest model, champion or not, and not the newest snapshot: a training that failed half-way leaves a snapshot,
    and has learnt nothing. Where a head is trained, classes with fewer than `train.min_per_class` such documents do
    not count: training leaves them out, so that they would be news for ever.

    Returns:
        `{"documents": n, "new": m}`: n that training would take, m of them news; empty when there are none.
    """
    config = settings()
    versions = assemble(config).versions
    classes = Taxonomy.from_settings(config.taxonomy).slugs
    with transaction() as session:
        current = [label for label in Labels(session).current(config.taxonomy.name) if label.label in classes]
        labels = {label.document_id: label.label for label in current}
        known = _learnt(session, config.train.model_name, versions)
        news = sorted(document for document, label in labels.items() if known.get(document) != label)
        embedded = {vector.document_id for vector in Embeddings(session).of_documents(news, versions)}
    usable = {document: label for document, label in labels.items() if document in known or document in embedded}
    return _trainable(usable, known, _least(config.train, usable))


def _least(train: Train, labels: Mapping[str, str]) -> int:
    """Documents of a class from which training takes it."""
    method = train.method
    if method == "auto":
        counts = Counter(labels.values())
        method = choose_method(counts, min_per_class=train.min_per_class, folds=train.folds).method
    return train.min_per_class if method == "head" else 1


def _learnt(session: Session, model_name: str, versions: Versions) -> dict[str, str]:
    """Document -> label in the snapshot of the newest model that was made of these embeddings; nothing without one.

    A replay may have trained a newer one on what other processors make.
    """
    snapshot_id = session.scalar(
        select(ModelVersion.snapshot_id)
        .join(DatasetSnapshot)
        # Describers stand there too, but make no rows that a label could still lack.
        .where(ModelVersion.name == model_name, DatasetSnapshot.processors.contains(asdict(versions)))
        .order_by(ModelVersion.id.desc())
        .limit(1)
    )
    if snapshot_id is None:
        return {}
    return {member.document_id: member.label for member in Snapshots(session).members(snapshot_id)}


def _trainable(labels: Mapping[str, str], known: Mapping[str, str], min_per_class: int) -> dict[str, int]:
    per_class = Counter(labels.values())
    taken = [document for document, label in labels.items() if per_class[label] >= min_per_class]
    new = sum(known.get(document) != labels[document] for document in taken)
    return {"documents": len(taken), "new": new} if new and len({labels[d] for d in taken}) > 1 else {}

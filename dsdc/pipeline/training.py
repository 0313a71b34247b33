"""Labels and embeddings -> a registered, calibrated head, and perhaps a new champion."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from dsdc.db.repositories.embeddings import Versions
from dsdc.db.repositories.models import Models, NewModel
from dsdc.db.session import transaction
from dsdc.errors import Conflict, NotFound, SettingsError, TrackingUnavailable, WeightsError
from dsdc.log import get_logger
from dsdc.ml import gate, recipe, registry
from dsdc.ml.dataset import Dataset, Snapshot, collect, freeze
from dsdc.ml.fit import Fitted, fit
from dsdc.ml.gate import GateReport
from dsdc.ml.recipe import Origin, ProcessorIdentity, Recipe
from dsdc.ml.registry import Registered
from dsdc.ml.split import Split, make_split
from dsdc.ml.tracking import Tracking
from dsdc.pipeline.assembly import Assembly, assemble
from dsdc.processors.contract import Embedder, Processor
from dsdc.settings import Settings, Train, settings
from dsdc.taxonomy import Taxonomy

log = get_logger(__name__)

Progress = Callable[[int, int], None]  # (epochs run, epochs at most still to come)


@dataclass(frozen=True)
class TrainReport:
    """What a training made, and whether it serves now."""

    model: str
    version: int
    head_sha256: str
    snapshot_id: int
    snapshot_sha256: str
    documents: int
    left_out: Mapping[str, int]
    mlflow_run_id: str
    mlflow_url: str
    metrics: Mapping[str, float]
    seconds: float
    gate: GateReport

    @property
    def promoted(self) -> bool:
        return self.gate.promote

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": self.version,
            "head_sha256": self.head_sha256,
            "snapshot_id": self.snapshot_id,
            "snapshot_sha256": self.snapshot_sha256,
            "documents": self.documents,
            "left_out": dict(self.left_out),
            "mlflow_run_id": self.mlflow_run_id,
            "mlflow_url": self.mlflow_url,
            "metrics": dict(self.metrics),
            "seconds": round(self.seconds, 2),
            "promoted": self.promoted,
            "reason": self.gate.reason,
            "gate": self.gate.as_dict(),
        }


def take_snapshot() -> Snapshot:
    """Freeze what is labelled and embedded now, with the split that training would use."""
    config = settings()
    ready = assemble(config)
    return _prepare(config, config.train, ready)[2]


def train_model(
    *,
    overrides: Mapping[str, object] | None = None,
    author: str,
    airflow_run: str | None = None,
    progress: Progress | None = None,
) -> TrainReport:
    """Snapshot, train, calibrate, evaluate, register in MLflow and in the store, and promote if the gate agrees.

    Args:
        overrides: settings of the section `train` for this run alone.
        author: who or what asked for it; stands on the alias's history.
        airflow_run: run id in Airflow, for the lineage.

    Raises:
        NotEnoughLabels: too few labelled documents. TrackingUnavailable: MLflow is down; nothing is registered.
        SettingsError: an override is not valid.
    """
    config = settings()
    chosen = _override(config.train, overrides or {})
    ready = assemble(config)
    dataset, split, snapshot = _prepare(config, chosen, ready)

    def told(epoch: Any) -> None:
        if progress is not None:
            progress(epoch.epoch + 1, max(0, chosen.epochs - epoch.epoch - 1))

    fitted = fit(dataset.data, split, chosen, coverage=config.predict.coverage, progress=told)
    described = _describe(config, fitted, snapshot, ready)
    tracked = Tracking(config.mlflow.uri).log_training(
        fitted, described, experiment=chosen.experiment, model_name=chosen.model_name, tags=_tags(author, airflow_run)
    )
    model_id = _record(
        config, fitted, described, snapshot, ready.versions, tracked.run_id, int(tracked.version), airflow_run
    )
    report = _judge(config, dataset, split, fitted, ready, chosen.seed)
    registry.set_alias(config, "challenger", model_id, author=author, reason="trained")
    if report.promote:
        registry.set_alias(config, "champion", model_id, author=author, reason=report.reason)
        _show_champion(config, chosen.model_name, int(tracked.version))
    log.info("train.finished", version=tracked.version, promoted=report.promote, reason=report.reason)
    return TrainReport(
        model=chosen.model_name,
        version=int(tracked.version),
        head_sha256=described.head_sha256,
        snapshot_id=snapshot.id,
        snapshot_sha256=snapshot.content_sha256,
        documents=len(dataset.data),
        left_out=dataset.left_out,
        mlflow_run_id=tracked.run_id,
        mlflow_url=tracked.run_url,
        metrics={key: round(value, 4) for key, value in fitted.test.values.items() if np.isfinite(value)},
        seconds=fitted.run.seconds,
        gate=report,
    )


def _override(section: Train, overrides: Mapping[str, object]) -> Train:
    try:
        return Train.model_validate(section.model_dump() | dict(overrides))
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError(f"These training parameters are not valid: {found}.") from None


def _prepare(config: Settings, chosen: Train, ready: Assembly) -> tuple[Dataset, Split, Snapshot]:
    taxonomy = Taxonomy.from_settings(config.taxonomy)
    dataset = collect(taxonomy, ready.versions, min_per_class=chosen.min_per_class)
    split = make_split(
        dataset.data.labels,
        dataset.data.groups,
        valid_share=chosen.valid_share,
        test_share=chosen.test_share,
        seed=chosen.seed,
    )
    params = {
        "min_per_class": chosen.min_per_class,
        "seed": chosen.seed,
        "shares": [chosen.valid_share, chosen.test_share],
    }
    snapshot = freeze(dataset, split, taxonomy, ready.versions, params)
    log.info("train.snapshot", id=snapshot.id, documents=snapshot.documents, sha256=snapshot.content_sha256)
    return dataset, split, snapshot


def _identity(processor: Processor) -> ProcessorIdentity:
    return ProcessorIdentity(
        stage=processor.stage,
        name=processor.name,
        version=processor.version,
        params_hash=processor.params_hash,
        weights_sha256=processor.weights_sha256 if isinstance(processor, Embedder) else None,
    )


def _describe(config: Settings, fitted: Fitted, snapshot: Snapshot, ready: Assembly) -> Recipe:
    processors = ready.processors
    return recipe.recipe_of(
        fitted,
        classes=Taxonomy.from_settings(config.taxonomy).classes,
        review_threshold=config.predict.review_threshold,
        origin=Origin(
            snapshot=snapshot.content_sha256,
            clip=_identity(processors.embedder),
            processors=tuple(_identity(p) for p in (processors.renderer, processors.reader, processors.cleaner)),
            code_commit=recipe.code_commit(config.root),
            libraries=recipe.library_versions(),
        ),
    )


def _tags(author: str, airflow_run: str | None) -> dict[str, str]:
    return {"author": author} | ({"airflow_run": airflow_run} if airflow_run else {})


def _record(
    config: Settings,
    fitted: Fitted,
    described: Recipe,
    snapshot: Snapshot,
    versions: Versions,
    run_id: str,
    version: int,
    airflow_run: str | None,
) -> int:
    """The head's bytes into their place, then the row that names them."""
    recipe_sha256 = hashlib.sha256(described.to_json()).hexdigest()
    with tempfile.TemporaryDirectory(prefix="dsdc-head-") as folder:
        recipe.save(Path(folder), fitted.run.head, described)
        registry.put_head(config, Path(folder), described.head_sha256, recipe_sha256)
    return registry.register(
        NewModel(
            name=config.train.model_name,
            version=version,
            mlflow_run_id=run_id,
            head_sha256=described.head_sha256,
            recipe_sha256=recipe_sha256,
            snapshot_id=snapshot.id,
            clip_processor_id=versions.embed,
            clip_weights_sha256=str(described.origin.clip.weights_sha256),
            classes=list(described.slugs),
            metrics=fitted.test.flat(),
            calibration={
                "temperature": fitted.temperature,
                "coverage": fitted.coverage,
                "floor": fitted.floor,
                "review_threshold": described.review_threshold,
            },
            code_commit=described.origin.code_commit,
            airflow_run=airflow_run,
        )
    )


def _judge(config: Settings, dataset: Dataset, split: Split, fitted: Fitted, ready: Assembly, seed: int) -> GateReport:
    """Challenger against champion on this test part, less what the champion has learnt from."""
    served = registry.with_alias(config, "champion")
    if served is None:
        return gate.first("There was no champion.")
    if served.clip_processor_id != ready.versions.embed:
        return gate.first("The champion belongs to another CLIP and cannot answer here.")
    learnt = registry.learnt_documents(served.snapshot_id)
    rows = np.array([row for row in split.test if dataset.data.document_ids[row] not in learnt], dtype=np.int64)
    if not len(rows):
        return gate.first("The champion has learnt from every document that it could be compared on.")
    try:
        old = recipe.load(served.folder, head_sha256=served.head_sha256)
    except WeightsError as error:
        return gate.first(f"The champion cannot be read: {error}")
    classes = dataset.data.classes
    shared = dataset.data.take(rows)
    was = old.predict_blocks(shared.blocks())
    columns = [old.classes.index(slug) if slug in old.classes else None for slug in classes]
    aligned = np.stack([was[:, c] if c is not None else np.zeros(len(rows)) for c in columns], axis=1)
    position = {int(row): place for place, row in enumerate(split.test)}
    now = fitted.test.scored.probabilities[[position[int(row)] for row in rows]]
    return gate.compare(aligned, now, shared.labels, seed=seed)


def promote_version(version: int, *, author: str, reason: str) -> Registered:
    """Make a version the champion because somebody decided so; MLflow follows if it is up.

    Raises:
        NotFound: no such version. WeightsError: its bytes are not what was recorded.
    """
    config = settings()
    wanted = registry.by_version(config, version)
    recipe.load(wanted.folder, head_sha256=wanted.head_sha256)
    registry.set_alias(config, "champion", wanted.id, author=author, reason=reason)
    _show_champion(config, wanted.name, wanted.version)
    return wanted


def _show_champion(config: Settings, name: str, version: int) -> None:
    """Move MLflow's alias too. It is there for people to look at: what serves has been decided already."""
    try:
        Tracking(config.mlflow.uri).set_alias(name, "champion", str(version))
    except (TrackingUnavailable, NotFound) as error:
        log.warning("train.alias_not_shown", model=name, version=version, error=str(error))


def roll_back(*, author: str) -> Registered:
    """Make the champion before the present one the champion again.

    Raises:
        Conflict: there was none.
    """
    config = settings()
    with transaction() as session:
        models = Models(session)
        history = [move.model_version_id for move in models.alias_history(config.train.model_name, "champion")]
        before = [model_id for model_id in history if model_id != history[-1]]
        previous = models.get(before[-1]) if before else None
    if previous is None:
        raise Conflict("There is no earlier champion to go back to.")
    return promote_version(previous.version, author=author, reason="rollback")

"""Labels and embeddings -> a registered, calibrated head, and perhaps a new champion."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from dsdc.db.repositories.models import NewModel
from dsdc.errors import (
    Conflict,
    ModelMismatch,
    NotEnoughLabels,
    NotFound,
    SettingsError,
    TrackingUnavailable,
    WeightsError,
)
from dsdc.log import get_logger
from dsdc.ml import gate, recipe, registry
from dsdc.ml.calibrate import Doubles
from dsdc.ml.comparison import Champion
from dsdc.ml.dataset import Dataset
from dsdc.ml.fit import Fitted, Share
from dsdc.ml.gate import GateReport
from dsdc.ml.heldout import HeldOut
from dsdc.ml.method import Choice
from dsdc.ml.recipe import Head, Recipe
from dsdc.ml.registry import Registered
from dsdc.ml.search import search
from dsdc.ml.snapshots import Snapshot
from dsdc.ml.tracking import Registered as Tracked
from dsdc.ml.tracking import Tracking
from dsdc.pipeline.assembly import Assembly, assemble
from dsdc.pipeline.match import require_match
from dsdc.pipeline.material import Material, describe, fit_material, prepare
from dsdc.settings import Settings, Train, settings

log = get_logger(__name__)

Progress = Callable[[int, int], None]  # (done, still to come), in any unit


@dataclass(frozen=True)
class TrainReport:
    """What a training made, and whether it serves now."""

    model: str
    version: int
    method: Choice
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
            "method": self.method.method,
            "why": self.method.reason,
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
    return prepare(config, config.train, assemble(config)).snapshot


def train_model(
    *,
    overrides: Mapping[str, object] | None = None,
    trials: int = 0,
    author: str,
    airflow_run: str | None = None,
    progress: Progress | None = None,
    config: Settings | None = None,
    promote: bool = True,
    complete: bool = False,
) -> TrainReport:
    """Snapshot, train, calibrate, evaluate, register in MLflow and in the store, and promote if the gate agrees.

    Args:
        overrides: settings of the section `train` for this run alone.
        trials: how many settings to try first; the best of them are trained with.
        author: who or what asked for it; stands on the alias's history.
        airflow_run: run id in Airflow, for the lineage.
        config: other settings than the process's, for a model that is only to be looked at.
        promote: False: it stays a challenger, whatever the gate says.
        complete: only documents of which every page went through all stages are learnt from.

    Raises:
        NotEnoughLabels: too few labelled documents for the method, or for a search.
        TrackingUnavailable: MLflow is down; nothing is registered.
        SettingsError: an override is not valid.
    """
    config = config or settings()
    chosen = _override(config.train, overrides or {})
    ready = assemble(config)
    made = prepare(config, chosen, ready, complete=complete)
    dataset, snapshot = made.dataset, made.snapshot
    told = Share(progress, trials + 1)
    chosen, parent = _searched(config, chosen, made, trials, told) if trials else (chosen, None)
    wanted = {"coverage": config.predict.coverage, "review_budget": config.predict.review_budget}
    fitted = fit_material(made, chosen, **wanted, progress=told.part(trials))
    described = describe(config, fitted, snapshot, ready)
    held_out = HeldOut.of(dataset.data, fitted)
    report = _judge(config, dataset, held_out, ready, chosen.seed)
    if not promote:
        report = replace(report, promote=False, reason=f"It was not to serve. {report.reason}")
    reports = {"gate": report.markdown(), "method": f"{made.choice.reason}\n"}
    tags = _tags(author, airflow_run)
    tracked, recipe_sha256 = _keep(config, chosen, fitted, described, held_out, reports, tags, parent)
    model_id = registry.register(_row(config, fitted, described, recipe_sha256, snapshot, ready, tracked, airflow_run))
    registry.set_alias(config, "challenger", model_id, author=author, reason="trained")
    if report.promote:
        registry.set_alias(config, "champion", model_id, author=author, reason=report.reason)
        _show_champion(config, chosen.model_name, int(tracked.version))
    log.info("train.finished", version=tracked.version, promoted=report.promote, reason=report.reason)
    return TrainReport(
        model=chosen.model_name,
        version=int(tracked.version),
        method=made.choice,
        head_sha256=described.head_sha256,
        snapshot_id=snapshot.id,
        snapshot_sha256=snapshot.content_sha256,
        documents=len(dataset.data),
        left_out=dataset.left_out,
        mlflow_run_id=tracked.run_id,
        mlflow_url=tracked.run_url,
        metrics={key: round(value, 4) for key, value in fitted.estimate.values.items() if np.isfinite(value)},
        seconds=fitted.run.seconds,
        gate=report,
    )


def _keep(
    config: Settings,
    chosen: Train,
    fitted: Fitted,
    described: Recipe,
    held_out: HeldOut,
    reports: Mapping[str, str],
    tags: Mapping[str, str],
    parent: str | None,
) -> tuple[Tracked, str]:
    """The head's files in MLflow and in the platform's own folder; the version there, and the recipe's hash."""
    with tempfile.TemporaryDirectory(prefix="dsdc-head-") as scratch:
        folder = Path(scratch)
        recipe.save(folder, fitted.run.head, described)
        held_out.save(folder)
        tracked = Tracking(config.mlflow.uri).log_training(
            fitted,
            described,
            folder,
            experiment=chosen.experiment,
            model_name=chosen.model_name,
            tags=tags,
            reports=reports,
            parent_run_id=parent,
        )
        recipe_sha256 = hashlib.sha256(described.to_json()).hexdigest()
        registry.put_head(config, folder, described.head_sha256, recipe_sha256)
    return tracked, recipe_sha256


def _override(section: Train, overrides: Mapping[str, object]) -> Train:
    try:
        return Train.model_validate(section.model_dump() | dict(overrides))
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError(f"These training parameters are not valid: {found}.") from None


def _searched(config: Settings, chosen: Train, made: Material, trials: int, told: Share) -> tuple[Train, str]:
    """The best settings, and the run in MLflow under which the trials are and the training belongs."""
    if made.choice.method != "head":
        raise NotEnoughLabels(
            f"There are no settings to search. {made.choice.reason}", hint="Train without trials, or label more."
        )
    tags = {"snapshot": made.snapshot.content_sha256}
    with Tracking(config.mlflow.uri).search_run(experiment=chosen.experiment, tags=tags) as run:
        found = search(made.dataset.data, chosen, trials=trials, told=told, tell=run.log_trial)
        run.conclude(found)
        return found.best, run.run_id


def _tags(author: str, airflow_run: str | None) -> dict[str, str]:
    return {"author": author} | ({"airflow_run": airflow_run} if airflow_run else {})


def _row(
    config: Settings,
    fitted: Fitted,
    described: Recipe,
    recipe_sha256: str,
    snapshot: Snapshot,
    ready: Assembly,
    tracked: Tracked,
    airflow_run: str | None,
) -> NewModel:
    return NewModel(
        name=config.train.model_name,
        version=int(tracked.version),
        mlflow_run_id=tracked.run_id,
        head_sha256=described.head_sha256,
        recipe_sha256=recipe_sha256,
        snapshot_id=snapshot.id,
        clip_processor_id=ready.versions.embed,
        clip_weights_sha256=str(described.origin.clip.weights_sha256),
        classes=list(described.slugs),
        metrics=fitted.estimate.flat(),
        calibration=described.model_dump(mode="json", include={"calibration", "conformal", "review", "cascade"}),
        code_commit=described.origin.code_commit,
        airflow_run=airflow_run,
    )


def _judge(config: Settings, dataset: Dataset, held_out: HeldOut, ready: Assembly, seed: int) -> GateReport:
    """Challenger against champion, each asked about documents as if they were new to it."""
    served = registry.with_alias(config, "champion")
    if served is None:
        return gate.first("There was no champion.")
    try:
        old = recipe.load(served.folder, head_sha256=served.head_sha256)
        learnt = None if old.recipe.kind == "zero-shot" else HeldOut.load(served.folder)
    except WeightsError as error:
        return gate.first(f"The champion cannot be asked: {error}")
    live, why_not = _asked(old, dataset, ready)
    if live is None and learnt is None:
        return gate.first(f"The champion cannot be asked: {why_not}")
    report = gate.compare(
        held_out,
        Champion(old.classes, live, learnt),
        groups=dataset.data.groups,
        sources=[label.source for label in dataset.labels],
        seed=seed,
    )
    if report.promote or not why_not:
        return report
    way_out = "Set that back, or take the new version all the same: `dsdc promote VERSION --reason …`."
    return replace(report, reason=f"{report.reason} {why_not} {way_out}")


def _asked(champion: Head, dataset: Dataset, ready: Assembly) -> tuple[Doubles | None, str]:
    """A champion's answers of today, or None and why it has none: it was trained on what other processors make."""
    try:
        require_match("The champion", champion.recipe.origin, ready.processors)
        return champion.predict_proba(dataset.data.blocks()), ""
    except (ModelMismatch, ValueError) as error:
        return None, str(error)


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


def unservable(config: Settings, registered: Registered) -> str:
    """Why a version cannot answer with these settings; empty where it can."""
    head = recipe.load(registered.folder, head_sha256=registered.head_sha256)
    try:
        require_match(
            f"{registered.name} version {registered.version}", head.recipe.origin, assemble(config).processors
        )
    except (ModelMismatch, WeightsError) as error:
        return str(error)
    return ""


def _show_champion(config: Settings, name: str, version: int) -> None:
    """Move MLflow's alias too. It is there for people to look at: what serves has been decided already."""
    try:
        Tracking(config.mlflow.uri).set_alias(name, "champion", str(version))
    except (TrackingUnavailable, NotFound) as error:
        log.warning("train.alias_not_shown", model=name, version=version, error=str(error))


def roll_back(*, author: str) -> Registered:
    """Make the champion before the present one the champion again; a second time, the one before that.

    Raises:
        Conflict: there is none that no rollback has left.
    """
    previous = registry.champion_before(settings())
    if previous is None:
        raise Conflict(
            "There is no earlier champion to go back to.",
            hint="`dsdc promote VERSION --reason …` makes any version the champion.",
        )
    return promote_version(previous.version, author=author, reason=registry.ROLLBACK)

"""What a model is made of, and the making: one way for a training and for doing an earlier one again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dsdc.db.session import clock, transaction
from dsdc.db.tables import DatasetSnapshot
from dsdc.log import get_logger
from dsdc.ml import recipe
from dsdc.ml.coldstart import ARCHIVE, fit_cold, hold_out_folds, prompts_of
from dsdc.ml.dataset import Archive, Dataset, archive, archive_of, collect_all, trainable
from dsdc.ml.fit import Fitted, fit
from dsdc.ml.method import Choice, Method, choose_method
from dsdc.ml.neighbours import References
from dsdc.ml.recipe import Origin, Recipe
from dsdc.ml.snapshots import Snapshot, Thawed, beside_of, freeze, prompts_in, thaw, versions_of
from dsdc.ml.split import Fold, make_folds
from dsdc.ml.train import Progress
from dsdc.pipeline.assembly import Assembly
from dsdc.pipeline.match import identity_of
from dsdc.settings import Settings, Train
from dsdc.taxonomy import LabelClass, Taxonomy

log = get_logger(__name__)


@dataclass(frozen=True)
class Beside:
    """What a model without training is made of, beside the labelled documents."""

    prompts: References
    archive: Archive


@dataclass(frozen=True)
class Material:
    """The frozen documents, what is to be made of them, and why."""

    choice: Choice
    dataset: Dataset
    folds: Sequence[Fold]
    snapshot: Snapshot
    beside: Beside | None


def prepare(config: Settings, chosen: Train, ready: Assembly, *, complete: bool = False) -> Material:
    """Freeze what is labelled and embedded now.

    Args:
        complete: only documents of which every page went through all stages.

    Raises:
        NotEnoughLabels: too few labelled documents for the method.
    """
    taxonomy = Taxonomy.from_settings(config.taxonomy)
    with transaction() as session:
        taken = clock(session)  # what comes later is no part of it
    found = collect_all(taxonomy, ready.versions, ready.processors, until=taken, complete=complete)
    choice = _choose(chosen, found)
    if choice.method == "head":
        dataset = trainable(found, chosen.min_per_class)
        folds = make_folds(dataset.data.labels, dataset.data.groups, folds=chosen.folds, seed=chosen.seed)
        beside = None
    else:
        dataset, folds = found, hold_out_folds(found.data, chosen)
        others = archive(ready.versions, ready.processors, ARCHIVE, until=taken, complete=complete)
        beside = Beside(_references(taxonomy.classes, ready), others)
    snapshot = _freeze(chosen, ready, taxonomy, dataset, folds, beside, taken)
    log.info("train.snapshot", id=snapshot.id, documents=snapshot.documents, sha256=snapshot.content_sha256)
    return Material(choice, dataset, folds, snapshot, beside)


def bring_back(frozen: DatasetSnapshot, method: Method, ready: Assembly) -> tuple[Material, Thawed]:
    """What a snapshot was made of, from the rows as they are now, and how they differ from what was frozen.

    Raises:
        Conflict: the snapshot is of an older kind.
    """
    beside, said = None, ""
    if method != "head":
        prompts = prompts_in(frozen)
        classes = [LabelClass(slug, slug, tuple(texts)) for slug, texts in prompts.items()]
        kept = archive_of(frozen.params["archive"], versions_of(frozen), ready.processors, until=frozen.created)
        beside, said = Beside(_references(classes, ready), kept), beside_of(prompts, kept.content_sha256)
    thawed = thaw(frozen, ready.processors, said)
    snapshot = Snapshot(frozen.id, frozen.content_sha256, frozen.documents)
    choice = Choice(method, f"As when snapshot {frozen.id} was frozen.")
    return Material(choice, thawed.dataset, thawed.folds, snapshot, beside), thawed


def fit_material(
    material: Material,
    chosen: Train,
    *,
    coverage: float,
    review_budget: float,
    progress: Progress | None = None,
) -> Fitted:
    """The model, by the method that was chosen for it."""
    data = material.dataset.data
    if material.choice.method == "head" or material.beside is None:
        return fit(
            data,
            chosen,
            coverage=coverage,
            review_budget=review_budget,
            folds=material.folds,
            progress=progress,
        )
    return fit_cold(
        data,
        chosen,
        method=material.choice.method,
        prompts=material.beside.prompts,
        archive=material.beside.archive.blocks,
        coverage=coverage,
        review_budget=review_budget,
        folds=material.folds,
        progress=progress,
    )


def describe(config: Settings, fitted: Fitted, snapshot: Snapshot, ready: Assembly) -> Recipe:
    """The recipe of a model that was made now, by the processors in use."""
    processors = ready.processors
    return recipe.recipe_of(
        fitted,
        classes=Taxonomy.from_settings(config.taxonomy).classes,
        origin=Origin(
            snapshot=snapshot.content_sha256,
            clip=identity_of(processors.embedder),
            processors=tuple(
                map(identity_of, (processors.renderer, processors.reader, processors.cleaner, *processors.describers))
            ),
            code_commit=recipe.code_commit(config.root),
            libraries=recipe.library_versions(),
        ),
    )


def _choose(chosen: Train, found: Dataset) -> Choice:
    if chosen.method != "auto":
        return Choice(chosen.method, "The setting train.method says so.")
    return choose_method(found.data.originals(), min_per_class=chosen.min_per_class, folds=chosen.folds)


def _references(classes: Sequence[LabelClass], ready: Assembly) -> References:
    return prompts_of(classes, ready.processors, aligned=ready.processors.embedder.aligned)


def _freeze(
    chosen: Train,
    ready: Assembly,
    taxonomy: Taxonomy,
    dataset: Dataset,
    folds: Sequence[Fold],
    beside: Beside | None,
    taken: datetime,
) -> Snapshot:
    processors = vars(ready.versions) | dict(ready.ids.describers)
    params: dict[str, Any] = {"min_per_class": chosen.min_per_class, "seed": chosen.seed, "folds": chosen.folds}
    if beside is None:
        return freeze(dataset, folds, taxonomy.name, processors, params, taken=taken)
    prompts = {c.slug: list(c.prompts) for c in taxonomy.classes}
    params |= {"prompts": prompts, "archive": list(beside.archive.document_ids)}
    others = beside_of(prompts, beside.archive.content_sha256)
    return freeze(dataset, folds, taxonomy.name, processors, params, taken=taken, beside=others)

"""A registered model made once more from its snapshot, and compared with what was registered, step by step."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dsdc.db.repositories.models import Snapshots
from dsdc.db.session import transaction
from dsdc.db.tables import DatasetSnapshot
from dsdc.errors import NotFound, WeightsError
from dsdc.log import get_logger
from dsdc.ml import recipe, registry
from dsdc.ml.fit import Fitted
from dsdc.ml.method import Method
from dsdc.ml.recipe import Head, Recipe
from dsdc.ml.registry import Registered
from dsdc.ml.snapshots import Content, Fault, Thawed, forgotten_of
from dsdc.ml.train import Progress
from dsdc.pipeline.assembly import Assembly, assemble
from dsdc.pipeline.match import mismatches
from dsdc.pipeline.material import Material, bring_back, fit_material
from dsdc.settings import Settings, settings
from dsdc.taxonomy import LabelClass

log = get_logger(__name__)

_NAMED = 5  # documents that a step names; the report holds all of them


@dataclass(frozen=True)
class Step:
    """One thing that was compared; `same` is None where a difference is told, but decides nothing by itself."""

    name: str
    same: bool | None
    detail: str


@dataclass(frozen=True)
class Difference:
    """How far the answers of two heads differ on the documents of the snapshot."""

    documents: int
    max_probability: float
    flips: tuple[Mapping[str, str], ...]

    def __str__(self) -> str:
        return (
            f"on its {self.documents} documents, probabilities differ by up to {self.max_probability:.2g},"
            f" and {len(self.flips)} answers flip"
        )


@dataclass(frozen=True)
class Reproduction:
    """What came of it; `faults` say, by document, what is not as it was frozen. `head_sha256` is the new head's."""

    model: str
    version: int
    steps: tuple[Step, ...]
    faults: Mapping[str, Fault]
    head_sha256: str | None = None
    difference: Difference | None = None

    @property
    def same(self) -> bool:
        return all(step.same is not False for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "version": self.version,
            "same": self.same,
            "steps": [asdict(step) for step in self.steps],
            "faults": {document: fault.detail for document, fault in self.faults.items()},
            "head_sha256": self.head_sha256,
            "difference": None if self.difference is None else asdict(self.difference),
        }


def reproduce(version: int, *, progress: Progress | None = None) -> Reproduction:
    """Train again from the version's snapshot with its own recipe; nothing is registered, promoted or logged to MLflow.

    Where documents or vectors of the snapshot are gone, or what computes from them now is another version, nothing is
    trained: it could not come out the same.

    Raises:
        NotFound: there is no such version. Conflict: its snapshot is of an older kind.
        WeightsError: its files are not what was recorded, so that there is nothing to compare with.
    """
    config = settings()
    wanted = registry.by_version(config, version)
    old = _registered_head(wanted)
    ready = assemble(config)
    frozen = _snapshot(wanted)
    material, thawed = bring_back(frozen, _method(old.recipe), ready)
    faults = thawed.content.faults
    steps = [
        Step("files", True, f"head {wanted.head_sha256[:16]} and its recipe are what was recorded"),
        _inputs(frozen, thawed, material),
        _content(frozen, thawed.content),
        _code(config, old.recipe),
        _libraries(old.recipe),
        _processors(old.recipe, ready, material),
    ]
    hopeless = [step.name for step in steps if step.same is False and step.name in ("inputs", "processors")]
    if hopeless:
        steps.append(Step("head", False, f"not trained: with other {hopeless[0]} it cannot come out the same"))
        return Reproduction(wanted.name, version, tuple(steps), faults)
    fitted = fit_material(
        material,
        old.recipe.training,
        coverage=old.recipe.conformal.coverage,
        review_budget=old.recipe.review.budget,
        progress=progress,
    )
    again = _again(fitted, old.recipe)
    difference = None if again.recipe.head_sha256 == wanted.head_sha256 else _differ(old, again, material)
    steps += [_head(old.recipe, again.recipe, difference), _thresholds(old.recipe, again.recipe)]
    found = Reproduction(wanted.name, version, tuple(steps), faults, again.recipe.head_sha256, difference=difference)
    log.info("reproduce.finished", model=wanted.name, version=version, same=found.same)
    return found


def _registered_head(wanted: Registered) -> Head:
    head = recipe.load(wanted.folder, head_sha256=wanted.head_sha256)
    found = hashlib.sha256((wanted.folder / recipe.RECIPE_FILE).read_bytes()).hexdigest()
    if found != wanted.recipe_sha256:
        raise WeightsError(f"The recipe of {wanted.name} version {wanted.version} is not the one on record.")
    return head


def _snapshot(wanted: Registered) -> DatasetSnapshot:
    with transaction() as session:
        found = Snapshots(session).get(wanted.snapshot_id)
    if found is None:
        raise NotFound(f"{wanted.name} version {wanted.version} has no snapshot.")
    return found


def _method(of: Recipe) -> Method:
    return "head" if of.kind == "document-head" else of.kind


def _inputs(snapshot: DatasetSnapshot, thawed: Thawed, material: Material) -> Step:
    """Everything that was frozen is still there; whether it is the same is another step."""
    if forgotten := forgotten_of(snapshot):
        said = f"forgotten since: {len(forgotten)} of the documents that it was made of ({_some(forgotten)})"
        return Step("inputs", False, f"{said}; it cannot be made again exactly")
    gone = sorted(document for document, fault in thawed.content.faults.items() if fault.kind == "vectors")
    if gone:
        return Step("inputs", False, f"vectors of {len(gone)} documents are not those that were frozen: {_some(gone)}")
    archived = () if material.beside is None else material.beside.archive.document_ids
    documents = len({*archived, *material.dataset.data.document_ids})
    return Step("inputs", True, f"{documents} documents are there with their vectors and texts")


def _some(documents: list[str]) -> str:
    named = ", ".join(document[:12] for document in documents[:_NAMED])
    return named if len(documents) <= _NAMED else f"{named} and {len(documents) - _NAMED} more"


def _content(snapshot: DatasetSnapshot, found: Content) -> Step:
    recorded = snapshot.content_sha256
    if found.sha256 == recorded and not found.faults:
        return Step("snapshot", True, f"its rows have the hash that was recorded, {recorded[:16]}")
    return Step("snapshot", False, f"its rows give {found.sha256[:16]}, recorded is {recorded[:16]}; {found.told()}")


def _code(config: Settings, of: Recipe) -> Step:
    here, then = recipe.code_commit(config.root), of.origin.code_commit
    if here != then:
        return Step("code", None, f"was {then}, is {here}")
    # Changes that were never committed may be others now.
    known = here != "unknown" and not here.endswith("-dirty")
    return Step(
        "code", True if known else None, here if known else f"{here}, then and now: which it was is not on record"
    )


def _libraries(of: Recipe) -> Step:
    here, then = recipe.library_versions(), of.origin.libraries
    changed = [
        f"{name} was {then.get(name)}, is {here.get(name)}"
        for name in sorted(then.keys() | here.keys())
        if then.get(name) != here.get(name)
    ]
    return Step("libraries", None if changed else True, "; ".join(changed) or "the same versions")


def _processors(of: Recipe, ready: Assembly, material: Material) -> Step:
    """Only those that compute now decide: describers, and the embedder of prompts; all others have left rows."""
    found = mismatches(of.origin, ready.processors)
    computing = ("describe", "embed") if material.beside is not None else ("describe",)
    decisive = any(said.startswith(computing) for said in found)
    return Step("processors", False if decisive else None if found else True, "; ".join(found) or "the same versions")


def _again(fitted: Fitted, old: Recipe) -> Head:
    names = tuple(LabelClass(c.slug, c.name, ()) for c in old.classes)
    return Head(fitted.run.head, recipe.recipe_of(fitted, classes=names, origin=old.origin))


def _head(old: Recipe, new: Recipe, difference: Difference | None) -> Step:
    if difference is None:
        return Step("head", True, f"the same bytes, {new.head_sha256[:16]}")
    return Step("head", False, f"was {old.head_sha256[:16]}, comes out as {new.head_sha256[:16]}; {difference}")


def _thresholds(old: Recipe, new: Recipe) -> Step:
    """What turns scores into answers: learnt from held-out documents, so the folds' heads came out the same too."""
    changed = [
        part
        for part in ("calibration", "conformal", "review", "cascade", "training")
        if getattr(old, part) != getattr(new, part)
    ]
    return Step("thresholds", not changed, f"{', '.join(changed)} differ" if changed else "the same numbers")


def _differ(old: Head, new: Head, material: Material) -> Difference:
    blocks, ids = material.dataset.data.blocks(), material.dataset.data.document_ids
    if not ids:
        return Difference(0, 0.0, ())
    before, after = old.predict_proba(blocks), new.predict_proba(blocks)
    was, now = before.argmax(axis=1), after.argmax(axis=1)
    flips = tuple(
        {"document_id": ids[row], "was": old.classes[was[row]], "is": new.classes[now[row]]}
        for row in np.flatnonzero(was != now)
    )
    return Difference(len(ids), float(np.abs(before - after).max()), flips)

"""A model that carries its own recipe: `head.safetensors` and `recipe.json` in one folder, each checked by its hash.

Nothing is ever unpickled: safetensors holds numbers only, and the recipe says what to do with them.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from dsdc.errors import WeightsError
from dsdc.ml import calibrate, conformal
from dsdc.ml.calibrate import Doubles, Evidence
from dsdc.ml.classifier import Architecture, DocumentHead
from dsdc.ml.features import Block, Bools
from dsdc.ml.fit import Fitted, floor_of
from dsdc.ml.neighbours import NeighbourArchitecture, NeighbourHead
from dsdc.ml.train import AnyHead, head_bytes, scores
from dsdc.settings import Train
from dsdc.taxonomy import LabelClass

#: Of recipes and heads; raised when heads of before can no longer be read.
FORMAT: Literal[3] = 3
HEAD_FILE = "head.safetensors"
RECIPE_FILE = "recipe.json"
_LIBRARIES = ("torch", "numpy", "scipy", "safetensors", "scikit-learn", "open-clip-torch", "pillow")
_SHA256 = r"^[0-9a-f]{64}$"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ProcessorIdentity(_Part):
    """What made an input: a row of the processors' table; `weights_sha256` where it has weights."""

    stage: str
    name: str
    version: str
    params_hash: str
    weights_sha256: str | None = None


class ClassName(_Part):
    slug: str
    name: str


class Shape(_Part):
    """See `classifier.Architecture`; `widths` in the order in which the head reads them."""

    widths: dict[str, int]
    kept: dict[str, int]
    topics: dict[str, int]
    frequencies: int = Field(ge=1)
    classes: int = Field(ge=2)
    members: int = Field(ge=1)
    hidden: int = Field(ge=1)
    dropout: float
    modality_dropout: float


class NeighbourShape(_Part):
    """See `neighbours.NeighbourArchitecture`."""

    widths: dict[str, int]
    kept: dict[str, int]
    references: dict[str, int]
    numbers: dict[str, int]
    classes: int = Field(ge=2)


class Calibration(_Part):
    """See `calibrate`: a weight for each component, by what a document is judged by; `fixed` before there were labels
    enough to learn it."""

    method: Literal["stacking", "fixed"] = "stacking"
    components: tuple[str, ...]
    weights: dict[Evidence, tuple[float, ...]]


class Conformal(_Part):
    """`floors` are the probabilities from which a class enters the prediction set, by what a document is judged by."""

    method: Literal["lac"] = "lac"
    coverage: float = Field(gt=0, lt=1)
    floors: dict[Evidence, float]


class Review(_Part):
    """Answers under `threshold` are for a person; it was chosen so that these are `budget` of all documents."""

    budget: float = Field(ge=0, lt=1)
    threshold: float = Field(ge=0, le=1)


class CascadeUse(_Part):
    """See `cascade.Cascade`; only of models whose held-out answers could promise it."""

    threshold: float = Field(ge=0, le=1)
    share: float = Field(ge=0, le=1)
    most_lost: float = Field(ge=0, lt=1)


class Origin(_Part):
    """What the head was made from and with."""

    snapshot: str
    clip: ProcessorIdentity
    processors: tuple[ProcessorIdentity, ...]
    code_commit: str
    libraries: dict[str, str]


class Recipe(_Part):
    """Everything needed to serve a head and to say where it came from; `classes` are in the order of its outputs."""

    format: Literal[3] = FORMAT
    kind: Literal["document-head", "neighbours", "zero-shot"] = "document-head"
    head_sha256: str = Field(pattern=_SHA256)
    shape: Shape | NeighbourShape
    classes: tuple[ClassName, ...]
    calibration: Calibration
    conformal: Conformal
    review: Review
    cascade: CascadeUse | None = None
    origin: Origin
    training: Train

    @model_validator(mode="after")
    def _as_many_names_as_outputs(self) -> Self:
        if len(self.classes) != self.shape.classes:
            raise ValueError(f"{len(self.classes)} class names for {self.shape.classes} outputs")
        if (self.kind == "document-head") != isinstance(self.shape, Shape):
            raise ValueError(f"a {self.kind} does not have this shape")
        return self

    @property
    def slugs(self) -> tuple[str, ...]:
        """Classes in the order of the outputs."""
        return tuple(c.slug for c in self.classes)

    @property
    def sha256(self) -> str:
        """Over the canonical JSON of everything in it, in hexadecimal."""
        return _digest(self._content())

    def to_json(self) -> bytes:
        """With its own hash, so that no number of it changes unseen."""
        content = self._content()
        return json.dumps({**content, "recipe_sha256": _digest(content)}, indent=2).encode() + b"\n"

    def _content(self) -> dict[str, Any]:
        """Without a cascade where there is none, as in recipes that know of none."""
        return self.model_dump(mode="json", exclude={"cascade"} if self.cascade is None else None)

    @classmethod
    def from_json(cls, text: bytes) -> Recipe:
        """Raises WeightsError when it is damaged, not a recipe, or of another format."""
        try:
            content = json.loads(text)
            named = content.pop("recipe_sha256")
            if content["format"] != FORMAT:
                raise WeightsError(
                    f"{RECIPE_FILE} is of format {content['format']}, and this version of the platform reads {FORMAT}.",
                    hint="Train a new model (dsdc train) and promote it.",
                )
            recipe = cls.model_validate(content)
        except (ValueError, KeyError, AttributeError, TypeError, ValidationError) as problem:
            raise WeightsError(f"{RECIPE_FILE} is damaged: {problem}", hint=_MEND) from problem
        if named != _digest(content):
            raise WeightsError(f"{RECIPE_FILE} does not have the hash that it names.", hint=_MEND)
        return recipe


_MEND = "Fetch the model from MLflow again, or train and promote a new one."


@dataclass(frozen=True)
class Head:
    """A head ready to serve."""

    model: AnyHead
    recipe: Recipe

    @property
    def classes(self) -> tuple[str, ...]:
        """Slugs in the order of the outputs."""
        return self.recipe.slugs

    def predict_proba(self, blocks: Mapping[str, Block]) -> Doubles:
        """Calibrated `[n, classes]`, from all the modalities that the head was trained on, present or not.

        Raises:
            ValueError: when modalities or widths are not the ones that the head was trained on.
        """
        given = {name: block.width for name, block in blocks.items() if block.width}
        if given != self.recipe.shape.widths:
            raise ValueError(f"the head reads {self.recipe.shape.widths}, but was given {given}")
        found = scores(self.model, blocks)
        return calibrate.probabilities(found, self.recipe.calibration.weights, calibrate.evidence(blocks))

    def prediction_sets(self, probabilities: Doubles, blocks: Mapping[str, Block]) -> Bools:
        """`[n, classes]` membership, from `[n, classes]` probabilities of these documents."""
        floors = floor_of(self.recipe.conformal.floors, calibrate.evidence(blocks))
        return conformal.prediction_sets(probabilities, floors)

    def decide(self, probability: float) -> conformal.Decision:
        """Accept or review, from the likeliest class's probability; always review where that was not calibrated."""
        if self.recipe.calibration.method == "fixed":
            return "review"
        return conformal.decision(probability, self.recipe.review.threshold)


def recipe_of(fitted: Fitted, *, classes: tuple[LabelClass, ...], origin: Origin) -> Recipe:
    """The recipe of a fitted head; `classes` give the display names of its slugs, and may hold others too.

    Raises:
        KeyError: when a class of the head has no display name.
    """
    names = {c.slug: c.name for c in classes}
    head = fitted.run.head
    architecture = head.architecture
    return Recipe(
        kind=head.kind if isinstance(head, NeighbourHead) else "document-head",
        head_sha256=fitted.run.head_sha256,
        shape=(NeighbourShape if isinstance(head, NeighbourHead) else Shape)(**vars(architecture)),
        classes=tuple(ClassName(slug=slug, name=names[slug]) for slug in fitted.run.classes),
        calibration=Calibration(
            method="stacking" if fitted.thresholds.learnt else "fixed",
            components=architecture.components,
            weights=dict(fitted.thresholds.weights),
        ),
        conformal=Conformal(coverage=fitted.coverage, floors=dict(fitted.thresholds.floors)),
        review=Review(budget=fitted.review_budget, threshold=fitted.thresholds.review),
        cascade=None if fitted.thresholds.cascade is None else CascadeUse(**vars(fitted.thresholds.cascade)),
        origin=origin,
        training=fitted.run.config,
    )


def save(folder: Path, head: AnyHead, recipe: Recipe) -> None:
    """Write both files into `folder`, which is made if need be.

    Raises:
        WeightsError: when the recipe is of another head.
    """
    weights = head_bytes(head)
    if hashlib.sha256(weights).hexdigest() != recipe.head_sha256:
        raise WeightsError("The recipe names the hash of another head.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / HEAD_FILE).write_bytes(weights)
    (folder / RECIPE_FILE).write_bytes(recipe.to_json())


def load(folder: Path, *, head_sha256: str | None = None) -> Head:
    """Read a saved head, on the CPU and in eval mode.

    Args:
        head_sha256: the hash that the caller's own records name; without it, the recipe's is trusted.

    Raises:
        WeightsError: when a file is missing, changed by a byte, or not what the recipe describes.
    """
    recipe = Recipe.from_json(_read(folder / RECIPE_FILE))
    weights = _read(folder / HEAD_FILE)
    found = hashlib.sha256(weights).hexdigest()
    for named, by in ((recipe.head_sha256, "recipe"), (head_sha256, "record")):
        if named is not None and named != found:
            raise WeightsError(f"{folder / HEAD_FILE} has SHA-256 {found}; the {by} names {named}.", hint=_MEND)
    model = _empty(recipe.shape)
    try:
        model.load_state_dict(load_tensors(weights))
    except (SafetensorError, RuntimeError) as problem:
        raise WeightsError(f"{folder / HEAD_FILE} is not the head of its recipe: {problem}", hint=_MEND) from problem
    return Head(model.eval(), recipe)


def _empty(shape: Shape | NeighbourShape) -> AnyHead:
    """A head of this shape, its numbers still to be read."""
    if isinstance(shape, NeighbourShape):
        return NeighbourHead(NeighbourArchitecture(**shape.model_dump()))
    return DocumentHead(Architecture(**shape.model_dump()))


def library_versions() -> dict[str, str]:
    """Of Python and of the libraries that a prediction's numbers come from."""
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def code_commit(root: Path) -> str:
    """The git commit checked out at `root`, with `-dirty` after it where files differ; `unknown` outside git."""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise WeightsError(f"{path} cannot be read: {problem.strerror}.", hint=_MEND) from problem

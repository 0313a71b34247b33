"""The two that are compared: each a model, and the processors' versions whose rows it is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsdc.db.repositories.embeddings import Embeddings, Versions
from dsdc.db.repositories.processors import Processors
from dsdc.db.repositories.texts import RawTexts
from dsdc.db.session import transaction
from dsdc.errors import ModelMismatch
from dsdc.ml import recipe
from dsdc.ml.calibrate import Doubles
from dsdc.ml.dataset import blocks_of, known_of
from dsdc.ml.features import Floats
from dsdc.ml.heldout import HeldOut
from dsdc.ml.recipe import Head, Origin, ProcessorIdentity
from dsdc.ml.registry import Registered
from dsdc.processors.describe import Describer
from dsdc.processors.recorded import Recorded, runnable
from dsdc.processors.registry import ProcessorSet
from dsdc.settings import Settings


@dataclass(frozen=True)
class Side:
    """`learnt` are the documents that the model has learnt from; `held_out` what it said to those before it did.

    `held_out` is None where nobody knows: the model has learnt from none, or from what other processors made of them.
    """

    name: str
    head: Head
    versions: Versions
    processors: ProcessorSet
    learnt: frozenset[str]
    held_out: HeldOut | None


@dataclass(frozen=True)
class Answers:
    """Probabilities `[n, classes]` of n documents, and their pooled image vectors `[n, width]`."""

    probabilities: Doubles
    images: Floats


def side_of(model: Registered, ready: ProcessorSet, config: Settings) -> Side:
    """A model, asked about what the processors made that it was trained on.

    Raises:
        WeightsError: its bytes are not what was recorded.
        ModelMismatch: one of these processors never ran here, or a describer cannot be had any more.
    """
    head = recipe.load(model.folder, head_sha256=model.head_sha256)
    held_out = None if head.recipe.kind == "zero-shot" else HeldOut.load(model.folder)
    name = f"{model.name} {model.version}"
    return Side(
        name=name,
        head=head,
        versions=_versions(name, head.recipe.origin),
        processors=replace(ready, describers=_describers(name, head.recipe.origin, config)),
        learnt=frozenset(held_out.document_ids if held_out is not None else ()),
        held_out=held_out,
    )


def elsewhere(side: Side, versions: Versions, told: str) -> Side:
    """The same model, asked about what other processors make: what it said in its training was about something else."""
    return replace(side, name=f"{side.name} with {told}", versions=versions, held_out=None)


def ask(side: Side, document_ids: Sequence[str]) -> Answers:
    """What the model says to stored documents that are complete in its versions."""
    with transaction() as session:
        known = known_of(Embeddings(session), RawTexts(session), document_ids, side.versions)
    blocks = blocks_of([known[document_id] for document_id in document_ids], side.processors)
    return Answers(side.head.predict_proba(blocks), np.asarray(blocks["image"].values))


def _versions(model: str, origin: Origin) -> Versions:
    ids: dict[str, int] = {}
    with transaction() as session:
        store = Processors(session)
        for identity in (*origin.processors, origin.clip):
            if identity.stage != "describe":
                row = store.find(identity.stage, identity.name, identity.version, identity.params_hash)
                if row is None:
                    raise ModelMismatch(
                        f"{model} was trained on what {identity.name} {identity.version} made, which never ran here.",
                        hint="Bring the database of the platform that it was trained on.",
                    )
                ids[identity.stage] = row.id
    return Versions(render=ids["render"], text=ids["text"], clean=ids["clean"], embed=ids["embed"])


def _describers(model: str, origin: Origin, config: Settings) -> tuple[Describer, ...]:
    return tuple(_describer(model, one, config) for one in origin.processors if one.stage == "describe")


def _describer(model: str, identity: ProcessorIdentity, config: Settings) -> Describer:
    place = identity.stage, identity.name, identity.version, identity.params_hash
    with transaction() as session:
        params = Processors(session).params_of(*place) or {}
    found = runnable(Recorded(*place, params), config)
    if not isinstance(found.processor, Describer):
        raise ModelMismatch(f"{model} cannot be asked: {found.reason}")
    return found.processor

"""Whether a model can be asked here: it answers only about what the processors make that it was trained on."""

from __future__ import annotations

from collections.abc import Iterator

from dsdc.db.repositories.processors import Processors
from dsdc.db.session import transaction
from dsdc.errors import ModelMismatch
from dsdc.ml.recipe import Origin, ProcessorIdentity
from dsdc.processors.contract import Embedder, Processor
from dsdc.processors.registry import ProcessorSet

_HINT = (
    "Set back in config.local.yaml what was changed and restart the service, or run `dsdc reprocess` and train again"
    " (`dsdc train`, or the DAG train_model)."
)


def identity_of(processor: Processor) -> ProcessorIdentity:
    """What a recipe says of a processor."""
    return ProcessorIdentity(
        stage=processor.stage,
        name=processor.name,
        version=processor.version,
        params_hash=processor.params_hash,
        weights_sha256=processor.weights_sha256 if isinstance(processor, Embedder) else None,
    )


def mismatches(origin: Origin, processors: ProcessorSet) -> list[str]:
    """In words, each processor that would make something else than the model was trained on; none: it can answer."""
    trained = {_place(p): p for p in (*origin.processors, origin.clip)}
    here = {_place(p): p for p in map(identity_of, _judged_by(processors))}
    different = [at for at in sorted(trained.keys() | here.keys()) if trained.get(at) != here.get(at)]
    return [_told(at, trained.get(at), here.get(at)) for at in different]


def require_match(model: str, origin: Origin, processors: ProcessorSet) -> None:
    """Raises ModelMismatch where `model` was trained on what other processors made; it says which, and what to do."""
    found = mismatches(origin, processors)
    if found:
        raise ModelMismatch(f"{model} was not trained on what is computed here: {'; '.join(found)}.", hint=_HINT)


def _judged_by(processors: ProcessorSet) -> tuple[Processor, ...]:
    return (
        processors.renderer,
        processors.reader,
        processors.cleaner,
        processors.embedder,
        *processors.describers,
    )


def _place(identity: ProcessorIdentity) -> str:
    """One processor a stage, but for the describers, of which there are several."""
    return f"describe {identity.name}" if identity.stage == "describe" else identity.stage


def _told(place: str, trained: ProcessorIdentity | None, here: ProcessorIdentity | None) -> str:
    if trained is None or here is None:
        return f"{place} was {'not there then' if trained is None else 'there then and is not now'}"
    if (trained.name, trained.version) != (here.name, here.version):
        return f"{place} was {trained.name} {trained.version} and is {here.name} {here.version}"
    changed = ", ".join(_changed(trained, here)) or "its weights"
    return f"{place} is {here.name} {here.version} with other parameters ({changed})"


def _changed(trained: ProcessorIdentity, here: ProcessorIdentity) -> Iterator[str]:
    """Names of the parameters that differ; no values, for a checkpoint's path may be among them."""
    with transaction() as session:
        store = Processors(session)
        before, now = (store.params_of(p.stage, p.name, p.version, p.params_hash) or {} for p in (trained, here))
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            yield name

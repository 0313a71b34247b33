"""The processors that made what is recorded, as far as they can be run here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from dsdc.db.repositories.embeddings import Versions
from dsdc.db.repositories.processors import Processors
from dsdc.db.session import transaction
from dsdc.db.tables import ProcessorVersion
from dsdc.errors import DsdcError
from dsdc.pipeline.assembly import Registered
from dsdc.processors.contract import Embedder, Processor
from dsdc.processors.recorded import Recorded, runnable
from dsdc.processors.registry import ProcessorSet, configured
from dsdc.settings import Settings

#: Stage -> where its processor is in a set. What is at no stage describes, and is known by its modality.
_STAGES = {"render": "renderer", "text": "reader", "clean": "cleaner", "embed": "embedder"}


@dataclass(frozen=True)
class Tools:
    """Processors with their ids; `why_not` names the stages and describers that must not be run, with the reason."""

    processors: ProcessorSet
    ids: Registered
    why_not: Mapping[str, str]

    @property
    def undescribed(self) -> str | None:
        """Why the head cannot be asked; None where it can."""
        return next((why for place, why in self.why_not.items() if place not in _STAGES), None)


class Toolbox:
    """Finds the processors of recorded versions; nothing is registered."""

    def __init__(self, config: Settings) -> None:
        self._config = config
        self._here = configured(config)
        self._known: dict[tuple[tuple[str, int], ...], Tools] = {}

    def tools(self, used: Mapping[str, int]) -> Tools:
        """The tools for a snapshot's `processors`: ids by stage, and by modality for describers."""
        key = tuple(sorted(used.items()))
        if key not in self._known:
            self._known[key] = self._find(used)
        return self._known[key]

    def _find(self, used: Mapping[str, int]) -> Tools:
        here = self._by_place()
        with transaction() as session:
            recorded = {place: Processors(session).get(number) for place, number in used.items()}
        places = sorted(used.keys() | here.keys())
        found = {place: _run(recorded.get(place), here.get(place), self._config) for place in places}
        versions = Versions(**{stage: used[stage] for stage in _STAGES})
        describers = {place: number for place, number in used.items() if place not in _STAGES}
        return Tools(
            processors=_together(self._here, {place: p for place, p in found.items() if isinstance(p, Processor)}),
            ids=Registered(unpack=0, versions=versions, describers=describers),  # no e-mail is taken apart here
            why_not={place: why for place, why in found.items() if isinstance(why, str)},
        )

    def _by_place(self) -> dict[str, Processor]:
        stages = {stage: getattr(self._here, part) for stage, part in _STAGES.items()}
        return stages | {describer.modality: describer for describer in self._here.describers}


def _together(here: ProcessorSet, found: Mapping[str, Any]) -> ProcessorSet:
    """The set with what was found in its places."""
    stages = {part: found[stage] for stage, part in _STAGES.items() if stage in found}
    return replace(here, **stages, describers=tuple(found.get(d.modality, d) for d in here.describers))


def _run(recorded: ProcessorVersion | None, here: Processor | None, config: Settings) -> Processor | str:
    """The processor of the very version that is recorded, or why it cannot be run."""
    if recorded is None:
        return "it was not used then"
    wanted = (recorded.name, recorded.version, recorded.params_hash)
    try:
        if here is not None and _identity(here) == wanted:
            return here
        found = runnable(Recorded(recorded.stage, *wanted, recorded.params), config)
        if found.processor is not None:
            _identity(found.processor)
    except DsdcError as error:
        return str(error)
    return found.processor or found.reason


def _identity(processor: Processor) -> tuple[str, str, str]:
    """Name, version and hash of the parameters; of an embedder with weights that have been read through."""
    if isinstance(processor, Embedder):
        _ = processor.width  # until then the weights' hash may come from a cache
    return processor.name, processor.version, processor.params_hash

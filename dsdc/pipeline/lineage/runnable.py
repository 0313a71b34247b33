"""The processors that made what is recorded, as far as they can be run here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dsdc.db.repositories.embeddings import Versions
from dsdc.db.repositories.processors import Processors
from dsdc.db.session import transaction
from dsdc.db.tables import ProcessorVersion
from dsdc.errors import DsdcError
from dsdc.pipeline.assembly import Registered
from dsdc.processors.contract import Embedder, Processor
from dsdc.processors.registry import ProcessorSet, configured
from dsdc.settings import Settings

_STAGES = ("render", "text", "clean", "embed")


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


class Runnable:
    """Compares what is recorded with what this configuration runs; nothing is registered."""

    def __init__(self, config: Settings) -> None:
        self._here = configured(config)
        self._known: dict[tuple[tuple[str, int], ...], Tools] = {}

    def tools(self, used: Mapping[str, int]) -> Tools:
        """The tools for a snapshot's `processors`: ids by stage, and by modality for describers."""
        key = tuple(sorted(used.items()))
        if key not in self._known:
            self._known[key] = self._compare(used)
        return self._known[key]

    def _compare(self, used: Mapping[str, int]) -> Tools:
        here = self._by_place()
        with transaction() as session:
            recorded = {place: Processors(session).get(number) for place, number in used.items()}
        found = {place: _why_not(recorded.get(place), here.get(place)) for place in sorted(used.keys() | here.keys())}
        versions = Versions(**{stage: used[stage] for stage in _STAGES})
        describers = {place: number for place, number in used.items() if place not in _STAGES}
        # No stage of a verification takes e-mails apart.
        ids = Registered(unpack=0, versions=versions, describers=describers)
        return Tools(self._here, ids, {place: why for place, why in found.items() if why is not None})

    def _by_place(self) -> dict[str, Processor]:
        here = self._here
        stages: dict[str, Processor] = {p.stage: p for p in (here.renderer, here.reader, here.cleaner, here.embedder)}
        return stages | {describer.modality: describer for describer in here.describers}


def _why_not(recorded: ProcessorVersion | None, here: Processor | None) -> str | None:
    """None where `here` is the very version that is recorded."""
    if here is None or recorded is None:
        return "it was not used then" if recorded is None else f"{recorded.name} {recorded.version} is not here"
    try:
        if isinstance(here, Embedder):
            _ = here.width  # reads the weights through; until then their hash may come from a cache
        identity = (here.name, here.version, here.params_hash)
    except DsdcError as error:
        return str(error)
    if identity == (recorded.name, recorded.version, recorded.params_hash):
        return None
    was, now = _named(recorded.name, recorded.version, recorded.params_hash), _named(*identity)
    return f"made by {was}, and {now} is configured here"


def _named(name: str, version: str, params_hash: str) -> str:
    return f"{name} {version} ({params_hash[:12]})"

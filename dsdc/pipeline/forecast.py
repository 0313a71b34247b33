"""How much work the present processor versions still have: inputs by stage, and about how long they will take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dsdc.db.repositories.attempts import Pace, StageAttempts
from dsdc.db.session import transaction
from dsdc.pipeline.assembly import STAGES, Assembly
from dsdc.pipeline.status import stage_counts


@dataclass(frozen=True)
class StageWork:
    """What one stage has to do, in inputs by state.

    `follow` inputs are not there yet: the stages before it will make them, at most so many. `pace` is None where no
    version of the stage has run here.
    """

    processor: str
    counts: Mapping[str, int]
    follow: int
    pace: Pace | None

    @property
    def inputs(self) -> int:
        """What is open, and what will follow."""
        return self.counts["pending"] + self.counts["running"] + self.follow

    @property
    def seconds(self) -> float | None:
        """Of one worker's time; None where nobody knows."""
        if not self.inputs:
            return 0.0
        return None if self.pace is None else self.inputs * self.pace.seconds

    def as_dict(self) -> dict[str, Any]:
        pace, seconds = self.pace, self.seconds
        return {
            "processor": self.processor,
            **self.counts,
            "follow": self.follow,
            "seconds": None if seconds is None else round(seconds, 2),
            "measured": None if pace is None else vars(pace) | {"seconds": round(pace.seconds, 6)},
        }


def forecast(ready: Assembly) -> dict[str, StageWork]:
    """Stage -> its work, in the order of the stages."""
    counts = stage_counts(ready)
    follow = _follow(ready, counts)
    with transaction() as session:
        queue = StageAttempts(session)
        paces = {name: queue.pace(name, ready.stage(name).processor_id) for name in STAGES}
    return {name: StageWork(_shown(ready, name), counts[name], follow[name], paces[name]) for name in STAGES}


def _shown(ready: Assembly, name: str) -> str:
    processor = ready.stage(name).processor
    return f"{processor.name} {processor.version} ({processor.params_hash[:8]})"


def _follow(ready: Assembly, counts: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """A page image becomes one text and one vector, a text one clean text, and that one vector unless it is empty."""
    render = ready.render
    with transaction() as session:
        pages = StageAttempts(session).pages_to_come(render.name, render.processor_id, render.inputs())
    texts = _open(counts["text"]) + pages
    cleaned = _open(counts["clean"]) + texts
    return {"unpack": 0, "render": 0, "text": pages, "embed-image": pages, "clean": texts, "embed-text": cleaned}


def _open(states: Mapping[str, int]) -> int:
    return states["pending"] + states["running"]

"""What came of a replay, as the report and programs read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

from dsdc.ml.comparison import Comparison
from dsdc.pipeline.replay.verdict import Verdict

#: Changed answers that are listed; all of them are counted.
LISTED = 5000

Said = Literal["before", "after", "neither"]


@dataclass(frozen=True)
class Opinion:
    """One side's answer to a document."""

    label: str
    probability: float
    decision: str


@dataclass(frozen=True)
class Flip:
    """A document whose class, or whose decision, would be another. `label` is its standing one, if it has any."""

    document_id: str
    name: str
    before: Opinion
    after: Opinion
    label: str | None
    label_source: str | None

    @property
    def confirmed(self) -> bool:
        """Whether a person has said what it is."""
        return self.label_source == "human"

    @property
    def right(self) -> Said | None:
        """Whom the standing label bears out."""
        if self.label is None:
            return None
        return {self.before.label: "before", self.after.label: "after"}.get(self.label, "neither")  # type: ignore[return-value]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"right": self.right}


@dataclass
class Counts:
    """Every document that both sides answered; memory does not grow with their number, but for the flips listed."""

    compared: int = 0
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    decisions: Counter[tuple[str, str]] = field(default_factory=Counter)
    confirmed: Counter[Said] = field(default_factory=Counter)
    labelled: Counter[Said] = field(default_factory=Counter)
    flips: list[Flip] = field(default_factory=list)

    @property
    def flipped(self) -> int:
        return self.pairs.total()

    def add(self, one: Flip) -> None:
        """One more document, flipped or not."""
        self.compared += 1
        self.decisions[one.before.decision, one.after.decision] += 1
        changed = one.before.label != one.after.label
        if changed:
            self.pairs[one.before.label, one.after.label] += 1
            if one.right is not None:
                (self.confirmed if one.confirmed else self.labelled)[one.right] += 1
        if (changed or one.before.decision != one.after.decision) and len(self.flips) < LISTED:
            self.flips.append(one)

    def sorted(self) -> list[Flip]:
        """What people should look at first: what they have confirmed themselves, then by how sure the new answer is."""
        return sorted(
            self.flips,
            key=lambda one: (one.before.label == one.after.label, not one.confirmed, -one.after.probability),
        )


@dataclass(frozen=True)
class Texts:
    """One page's cleaned text as both versions have it."""

    document_id: str
    name: str
    page: int
    before: str
    after: str


@dataclass(frozen=True)
class Replayed:
    """One replay. `missing` documents are not complete in both versions; `failed` says what other versions could not
    read, and why; `made` counts inputs by stage."""

    what: str
    kind: Literal["processors", "model"]
    before: str
    after: str
    started: datetime
    seconds: float
    documents: int
    stopped_early: bool
    sample: int | None
    seed: int
    made: Mapping[str, int]
    failed: Mapping[str, str]
    missing: int
    counts: Counts
    verdict: Verdict
    notes: Sequence[str]
    texts: Sequence[Texts]
    retrained: int | None = None

    def as_dict(self, *, named: bool = True) -> dict[str, Any]:
        """JSON values.

        Args:
            named: with file names and texts, which an erasure of their documents does not reach.
        """
        counts = self.counts
        flips = [flip.as_dict() for flip in counts.sorted()]
        return {
            "what": self.what,
            "kind": self.kind,
            "before": self.before,
            "after": self.after,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 1),
            "documents": self.documents,
            "compared": counts.compared,
            "missing": self.missing,
            "failed": dict(self.failed),
            "stopped_early": self.stopped_early,
            "sample": self.sample,
            "seed": self.seed,
            "made": dict(self.made),
            "retrained": self.retrained,
            "flips": {
                "count": counts.flipped,
                "share": round(counts.flipped / counts.compared, 4) if counts.compared else 0.0,
                "confirmed_by_people": _said(counts.confirmed),
                "labelled_otherwise": _said(counts.labelled),
                "pairs": [{"before": b, "after": a, "documents": n} for (b, a), n in counts.pairs.most_common()],
                "listed": flips if named else [{k: v for k, v in flip.items() if k != "name"} for flip in flips],
            },
            "decisions": [
                {"before": before, "after": after, "documents": n}
                for (before, after), n in sorted(counts.decisions.items())
            ],
            "labelled": self.verdict.labelled,
            "gate": self.verdict.gate.as_dict(),
            "as_served": _numbers(self.verdict.live),
            "notes": list(self.notes),
            "texts": [asdict(text) for text in self.texts] if named else [],
        }

    def metrics(self) -> dict[str, float]:
        """Numbers for a tracking server."""
        counts, gate = self.counts, self.verdict.gate.as_dict()
        own = {"documents": counts.compared, "flips_of_all": counts.flipped, "missing": self.missing}
        own |= {f"confirmed_{said}": n for said, n in _said(counts.confirmed).items()}
        numbers = {f"gate_{key}": value for key, value in gate.items() if key != "reason"}
        return {key: float(value) for key, value in {**own, "seconds": self.seconds, **numbers}.items()}


def _said(counts: Counter[Said]) -> dict[str, int]:
    """Flips whose label bears out the one side, the other, or neither."""
    return {
        f"{said}_right" if said != "neither" else "neither": counts[said] for said in ("before", "after", "neither")
    }


def _numbers(found: Comparison | None) -> dict[str, Any]:
    return {} if found is None else found.as_dict()

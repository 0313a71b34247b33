"""What a verification says: step by step, whether what was recorded comes out again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal
from uuid import UUID

import numpy as np

from dsdc.db.repositories.embeddings import Vectors

Outcome = Literal["ok", "differs", "cannot"]

#: Of a text, what is shown around the place where it differs.
_AROUND = 30


@dataclass(frozen=True)
class Step:
    """`expected` is what was recorded and `found` what came out; `detail` says why it cannot be judged, or how near."""

    name: str
    outcome: Outcome
    detail: str = ""
    expected: str | None = None
    found: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Verified:
    """One prediction, computed once more."""

    prediction_id: UUID
    document_id: str
    model: str
    steps: tuple[Step, ...]

    @property
    def outcome(self) -> Outcome:
        """`ok` where every step is; `differs` where one does; `cannot` where none does, but not all could be judged."""
        outcomes = {step.outcome for step in self.steps}
        return "differs" if "differs" in outcomes else "cannot" if "cannot" in outcomes else "ok"

    def as_dict(self) -> dict[str, Any]:
        return {
            "prediction_id": str(self.prediction_id),
            "document_id": self.document_id,
            "model": self.model,
            "outcome": self.outcome,
            "steps": [step.as_dict() for step in self.steps],
        }


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may be from the recorded ones. Hashes and texts must be equal.

    `vector` is the largest difference of one of a vector's numbers. A batch of other pages changes them by some 1e-6 in
    fp32, another processor by as little; a GPU computes in bfloat16, whose numbers differ from fp32 by up to 5e-3.
    """

    vector: float = 1e-4

    @property
    def cosine(self) -> float:
        """The least cosine between the recorded vector and the new one."""
        return 1 - self.vector

    @property
    def probability(self) -> float:
        """Of probabilities and similarities; what the head makes of a vector moves more than the vector."""
        return 10 * self.vector


def same(name: str, expected: str, found: str | None, missing: str = "nothing") -> Step:
    """Two hashes, or two words."""
    if expected == found:
        return Step(name, "ok", expected=expected, found=found)
    return Step(name, "differs", expected=expected, found=found or missing)


def same_text(name: str, expected: str, found: str) -> Step:
    """Exactly the same text; what is shown of two others begins a little before the first difference."""
    if expected == found:
        return Step(name, "ok", f"{len(expected)} characters")
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b), min(len(expected), len(found))
    )
    shown = slice(max(0, at - _AROUND), at + _AROUND)
    detail = f"from character {at + 1} on; {len(expected)} characters recorded, {len(found)} found"
    return Step(name, "differs", detail, repr(expected[shown]), repr(found[shown]))


def near(name: str, expected: Vectors, found: Vectors, tolerance: Tolerance) -> Step:
    """Two unit vectors `[width]`."""
    if expected.shape != found.shape:
        return Step(name, "differs", "of another width", str(len(expected)), str(len(found)))
    cosine, largest = float(expected @ found), float(np.abs(expected - found).max())
    told = f"cosine {cosine:.7f}, largest difference {largest:.1e}"
    if cosine >= tolerance.cosine and largest <= tolerance.vector:
        return Step(name, "ok", told)
    allowed = f"cosine from {tolerance.cosine:.7f} on, difference up to {tolerance.vector:.1e}"
    return Step(name, "differs", "other numbers", allowed, told)


def cannot(names: Iterable[str], why: str) -> list[Step]:
    """Steps that cannot be judged, all for one reason."""
    return [Step(name, "cannot", why) for name in names]

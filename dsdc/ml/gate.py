"""Whether a challenger may replace the champion: both answer the same held-out documents, and a paired bootstrap says
how sure the difference is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dsdc.ml.calibrate import Doubles
from dsdc.ml.features import Ints

#: Fewer shared documents than this decide nothing.
LEAST_DOCUMENTS = 20
#: A challenger may be this much less accurate in the worst likely case, and no more.
TOLERATED_LOSS = 0.03
ROUNDS = 2000


@dataclass(frozen=True)
class GateReport:
    """The decision in words, and the numbers behind it. `gain_*`: challenger minus champion, 95 % interval."""

    promote: bool
    reason: str
    documents: int = 0
    champion_accuracy: float | None = None
    challenger_accuracy: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    flips: int = 0
    flips_to_right: int = 0
    flips_to_wrong: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def first(reason: str) -> GateReport:
    """There is nothing to compare with."""
    return GateReport(promote=True, reason=reason)


def compare(champion: Doubles, challenger: Doubles, labels: Ints, *, seed: int) -> GateReport:
    """Judge from both models' `[n, classes]` probabilities on documents that neither was trained on.

    The challenger is refused when it is likely to be worse by more than `TOLERATED_LOSS`: the lower end of the
    bootstrap interval of the difference in accuracy is below that, and the difference itself is negative.
    """
    old, new = champion.argmax(axis=1), challenger.argmax(axis=1)
    difference = (new == labels).astype(float) - (old == labels).astype(float)
    low, high = _interval(difference, seed)
    gain = float(difference.mean())
    refuse = gain < 0 and low < -TOLERATED_LOSS and len(labels) >= LEAST_DOCUMENTS
    verdict = "worse" if gain < 0 else "no worse" if gain == 0 else "better"
    return GateReport(
        promote=not refuse,
        reason=f"On {len(labels)} documents new to both, the challenger is {verdict}: accuracy {gain:+.3f}"
        f" (95 % interval {low:+.3f} to {high:+.3f})"
        + (", too few to refuse" if len(labels) < LEAST_DOCUMENTS else ""),
        documents=len(labels),
        champion_accuracy=float((old == labels).mean()),
        challenger_accuracy=float((new == labels).mean()),
        gain_low=low,
        gain_high=high,
        flips=int((old != new).sum()),
        flips_to_right=int((difference > 0).sum()),
        flips_to_wrong=int((difference < 0).sum()),
    )


def _interval(difference: Doubles, seed: int) -> tuple[float, float]:
    draws = np.random.default_rng(seed).integers(0, len(difference), size=(ROUNDS, len(difference)))
    low, high = np.quantile(difference[draws].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)

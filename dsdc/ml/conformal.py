"""Prediction sets that hold the right class as often as promised, and the decision to accept or to ask a person.

Split conformal prediction with the LAC score, 1 - p(right class) (Sadinle, Lei, Wasserman 2019, arXiv 1609.00451):
of all sets with a given coverage over all documents, these are the smallest on average, and they need no random draw,
so that one document always gets one answer. APS sets follow difficulty more evenly but are larger and random at their
edge; where a class needs its own promise, give `prediction_sets` a floor for each class instead of one for all.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt

from dsdc.ml.calibrate import Doubles
from dsdc.ml.features import Bools, Ints

Decision = Literal["accept", "review"]


def fit_floor(probabilities: Doubles, labels: Ints, coverage: float) -> float:
    """The probability from which a class enters the prediction set, from `[n, classes]` held-out probabilities.

    New documents of the same kind then have the right class in their set in at least `coverage` of cases, averaged
    over documents and held-out samples. With fewer than `coverage / (1 - coverage)` held-out documents nothing can be
    promised, and the floor is 0: every class is in every set.
    """
    right = np.sort(probabilities[np.arange(len(labels)), labels])
    # The (n+1)-th document is what the promise is about. Rounding guards against 0.1 * 10 = 0.9999...
    below = math.floor(round((len(labels) + 1) * (1 - coverage), 9))
    return float(right[below - 1]) if below >= 1 else 0.0


def prediction_sets(probabilities: Doubles, floor: float | npt.NDArray[np.float64]) -> Bools:
    """`[n, classes]` membership: every class at or above the floor, and always the likeliest.

    Args:
        floor: one for all, `[n, 1]` or `[classes]`.
    """
    sets: Bools = probabilities >= np.asarray(floor)
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


def fit_threshold(confidence: Doubles, review_budget: float) -> float:
    """The probability from which an answer is accepted, so that this share of documents like these is reviewed.

    Args:
        confidence: `[n]` calibrated probability of each held-out document's likeliest class.
    """
    return float(np.quantile(confidence, review_budget, method="lower")) if len(confidence) else 0.0


def decision(probability: float, threshold: float) -> Decision:
    """`accept` from the threshold on, else `review`; `probability` is the likeliest class's, calibrated."""
    return "accept" if probability >= threshold else "review"

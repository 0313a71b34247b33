"""From scores to probabilities that mean what they say: temperature scaling (Guo et al. 2017, arXiv 1706.04599)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from dsdc.errors import NotEnoughLabels
from dsdc.ml.features import Floats, Ints

Doubles = npt.NDArray[np.float64]

_COLDEST, _HOTTEST = 0.05, 20.0
#: Width, in nats, of the prior on log T around 0. It counts as one document, and keeps a handful of validation
#: documents that all came out right from asking for certainty; among hundreds it is not felt.
_PRIOR_WIDTH = 1.0


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The temperature under which `[n, classes]` held-out logits have the least negative log likelihood.

    Above 1 the head was too sure of itself, below 1 not sure enough. The order of the classes stays as it was.

    Raises:
        NotEnoughLabels: when there are no held-out documents.
    """
    if not len(labels):
        raise NotEnoughLabels("No held-out documents to calibrate with.", hint="Label more documents of each class.")
    scores = logits.astype(np.float64)

    def cost(log_temperature: float) -> float:
        likely = log_softmax(scores / np.exp(log_temperature), axis=1)[np.arange(len(labels)), labels]
        return float(-likely.sum() + 0.5 * (log_temperature / _PRIOR_WIDTH) ** 2)

    found = minimize_scalar(cost, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def probabilities(logits: Floats, temperature: float) -> Doubles:
    """`[n, classes]` probabilities of the logits at this temperature; each row sums to 1."""
    calibrated: Doubles = softmax(logits.astype(np.float64) / temperature, axis=1)
    return calibrated

"""Multinomial logistic regression over features in several parts, sparse or dense: convex, and so without a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import log_softmax

from dsdc.ml.calibrate import Doubles
from dsdc.ml.features import Floats, Ints

#: `[n, width]` features of n documents.
Part: TypeAlias = csr_array | Floats

_ITERATIONS = 100
#: Documents up to which axes of their own are looked for: time grows with the cube of their number.
_MOST_ROTATED = 5000


def regress(parts: Sequence[Part], labels: Ints, weights: Floats, inverse_penalty: float) -> tuple[Doubles, Doubles]:
    """Slopes and bias of least weighted log loss with an L2 penalty on the slopes.

    Args:
        parts: features of the same n documents, side by side.
        labels: `[n]` classes.
        weights: `[classes]` of each class in the loss.
        inverse_penalty: larger for larger slopes.

    Returns:
        `[classes, width of all parts]` and `[classes]`.
    """
    if len(labels) < min(sum(part.shape[1] for part in parts), _MOST_ROTATED):
        axes, lengths = _axes(parts)
        slopes, bias = _descend([axes * lengths], labels, weights, inverse_penalty)
        of_documents = slopes @ (axes / lengths).T
        return np.concatenate([np.asarray(of_documents @ part) for part in parts], axis=1), bias
    return _descend(parts, labels, weights, inverse_penalty)


def _axes(parts: Sequence[Part]) -> tuple[Doubles, Doubles]:
    """`[n, rank]` the documents in axes of their own, of unit length, and `[rank]` the lengths.

    Fewer documents than columns span no more dimensions than there are documents, and the penalty is the same in
    whatever axes. 1,280 documents with 46,000 columns take seconds this way, and no part is written out dense.
    """
    products = sum(_dense(part @ part.T) for part in parts)
    variances, axes = np.linalg.eigh(products)
    kept = variances > variances[-1] * 1e-10
    return axes[:, kept], np.sqrt(variances[kept])


def _dense(found: Part) -> Doubles:
    return np.asarray(found.toarray() if isinstance(found, csr_array) else found, dtype=np.float64)


def _descend(
    parts: Sequence[Part | Doubles], labels: Ints, weights: Floats, inverse_penalty: float
) -> tuple[Doubles, Doubles]:
    """As `regress`, by L-BFGS."""
    n, classes, cuts = len(labels), len(weights), np.cumsum([part.shape[1] for part in parts])
    width = int(cuts[-1])
    each = weights[labels].astype(np.float64) / n
    truth = np.eye(classes)[labels]

    def cost(flat: Doubles) -> tuple[float, Doubles]:
        slopes, bias = flat[:-classes].reshape(classes, width), flat[-classes:]
        pieces = np.split(slopes, cuts[:-1], axis=1)
        logits = sum(part @ piece.T.astype(part.dtype) for part, piece in zip(parts, pieces, strict=True))
        logs = log_softmax(logits + bias, axis=1)
        away = (np.exp(logs) - truth) * each[:, None]
        slope = np.concatenate([(part.T @ away.astype(part.dtype)).T for part in parts], axis=1)
        penalty = slopes / (inverse_penalty * n)
        value = -(each * logs[np.arange(n), labels]).sum() + 0.5 * (slopes * penalty).sum()
        return float(value), np.concatenate([(slope + penalty).ravel(), away.sum(axis=0)])

    start = np.zeros(classes * width + classes)
    found = minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS, "ftol": 1e-7}).x
    return found[:-classes].reshape(classes, width), found[-classes:]

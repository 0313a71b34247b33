"""From the components' scores to probabilities that mean what they say: stacking, by the log score.

`p ~ prod_j p_j ** w_j` with weights of zero or more, learnt on held-out documents by their log likelihood (a proper
scoring rule). With one component this is temperature scaling (Guo et al. 2017, arXiv 1706.04599) with `w = 1 / T`;
with several it is their logarithmic opinion pool (Hinton 2002), which also says how much each is worth.

Weights are learnt apart for documents judged by their image alone, by their text alone, and by both: a head that was
sure enough with both is not so with one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import softmax

from dsdc.errors import NotEnoughLabels
from dsdc.ml.features import Block, Floats, Ints

Doubles = npt.NDArray[np.float64]

#: What a document is judged by.
Evidence = Literal["both", "image", "text"]
EVIDENCE: tuple[Evidence, ...] = get_args(Evidence)
Weights = Mapping[Evidence, tuple[float, ...]]

_LARGEST = 20.0
#: Weight of the prior around equal shares, in documents: it keeps a handful of held-out documents that all came out
#: right from asking for certainty; among hundreds it is not felt.
_PRIOR = 1.0
#: The one modality that is no reading of the text.
_IMAGE = "image"


def evidence(blocks: Mapping[str, Block]) -> Ints:
    """`[n]` what each document is judged by, as positions in `EVIDENCE`."""
    n = len(next(iter(blocks.values())).present)
    image, words = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for name, block in blocks.items():
        if name == _IMAGE:
            image |= block.present
        else:
            words |= block.present
    return np.where(image & words, 0, np.where(words, 2, np.where(image, 1, 0))).astype(np.int64)


def evidence_of(blocks: Mapping[str, Block]) -> Evidence:
    """What one document is judged by: blocks of one row."""
    return EVIDENCE[int(evidence(blocks)[0])]


def belongs(name: str, kind: Evidence) -> bool:
    """Whether a modality is part of this evidence."""
    return kind == "both" or (name == _IMAGE) == (kind == "image")


def only(blocks: Mapping[str, Block], kind: Evidence) -> dict[str, Block]:
    """The same documents as if they had no other evidence."""
    return {name: block if belongs(name, kind) else block.without() for name, block in blocks.items()}


def usable(kinds: Ints, kind: Evidence) -> Ints:
    """Rows of the documents that could be judged by this evidence, from what each `[n]` is judged by."""
    return np.flatnonzero(np.isin(kinds, (0, EVIDENCE.index(kind))))


def fit_weights(scores: Floats, labels: Ints) -> tuple[float, ...]:
    """Weights of the components, from `[n, components, classes]` held-out log-probabilities.

    Raises:
        NotEnoughLabels: when there are no held-out documents.
    """
    if not len(labels):
        raise NotEnoughLabels("No held-out documents to calibrate with.", hint="Label more documents of each class.")
    logs = scores.astype(np.float64)
    start = np.full(logs.shape[1], 1 / logs.shape[1])
    right = logs[np.arange(len(labels)), :, labels]

    def cost(weights: Doubles) -> tuple[float, Doubles]:
        mixed = np.einsum("j,njc->nc", weights, logs)
        peak = mixed.max(axis=1, keepdims=True)
        total = np.exp(mixed - peak).sum(axis=1)
        shares = np.exp(mixed - peak) / total[:, None]
        likely = right @ weights - (peak[:, 0] + np.log(total))
        slope = np.einsum("nc,njc->j", shares, logs) - right.sum(axis=0)
        away = weights - start
        return float(-likely.sum() + 0.5 * _PRIOR * away @ away), slope + _PRIOR * away

    found = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=[(0.0, _LARGEST)] * len(start))
    return tuple(float(weight) for weight in found.x)


def fit_all(scores: Mapping[Evidence, Floats], labels: Ints, usable: Mapping[Evidence, Ints]) -> Weights:
    """Weights for each kind of evidence, of which `usable` are the rows that have it; without any, those of `both`."""
    overall = fit_weights(scores["both"], labels)
    return {
        kind: fit_weights(scores[kind][rows], labels[rows]) if len(rows := usable[kind]) else overall
        for kind in EVIDENCE
    }


def probabilities(scores: Floats, weights: Weights, kinds: Ints) -> Doubles:
    """`[n, classes]` probabilities; each row sums to 1.

    Args:
        scores: `[n, components, classes]` log-probabilities.
        kinds: `[n]`, of `evidence`.
    """
    table = np.array([weights[kind] for kind in EVIDENCE])
    calibrated: Doubles = softmax(np.einsum("nj,njc->nc", table[kinds], scores.astype(np.float64)), axis=1)
    return calibrated

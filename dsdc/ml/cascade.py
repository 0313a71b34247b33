"""When the page images alone are enough: the probability from which nothing has to be read.

Conformal risk control (Angelopoulos, Bates, Fisch, Lei, Schuster 2022, arXiv 2208.02814). The loss of a threshold on
one document is 1 where the answer from the image alone is taken and wrong while the answer from everything would have
been right, and else 0. It only shrinks as the threshold grows, so that the least threshold with
`(lost + 1) / (n + 1) <= most` over n held-out documents loses at most `most` of new ones in expectation. Answers that
only the image gets right are not counted against the lost ones, so what it costs in accuracy is less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dsdc.ml.calibrate import Doubles
from dsdc.ml.features import Ints

#: Share of documents that may be answered wrongly for want of their text.
MOST_LOST = 0.005


@dataclass(frozen=True)
class Cascade:
    """`share` of the held-out documents are answered from the image alone, from the probability `threshold` on."""

    threshold: float
    share: float
    most_lost: float


def fit_cascade(image: Doubles, both: Doubles, labels: Ints, most_lost: float = MOST_LOST) -> Cascade | None:
    """The least threshold that keeps the promise, or None where none does or nothing would be gained.

    Below `1 / most_lost - 1` documents nothing can be promised.

    Args:
        image: `[n, classes]` held-out probabilities from the image alone, of documents that have a text too.
        both: `[n, classes]`, the same documents' from everything.
    """
    # Rounding guards against 0.005 * 200 = 0.9999...
    may_lose = math.floor(round(most_lost * (len(labels) + 1), 9)) - 1
    if may_lose < 0:
        return None
    confidence = image.max(axis=1)
    lost = (both.argmax(axis=1) == labels) & (image.argmax(axis=1) != labels)
    losses = np.sort(confidence[lost])[::-1]
    threshold = float(np.nextafter(losses[may_lose], 2.0)) if len(losses) > may_lose else 0.0
    share = float((confidence >= threshold).mean())
    return Cascade(threshold, share, most_lost) if share else None

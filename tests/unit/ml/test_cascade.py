"""The probability from which the image alone is enough: what it promises, and when it promises nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from dsdc.ml.calibrate import Doubles
from dsdc.ml.cascade import fit_cascade
from dsdc.ml.features import Ints


def answers(n: int, seed: int) -> tuple[Doubles, Doubles, Ints]:
    """(from the image, from everything, right classes): the image is right four times in five, the text helps."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, n)
    right = np.eye(4)[labels]
    image = right * random.exponential(2.5, (n, 1)) + random.normal(0, 0.8, (n, 4))
    both = image + right * 2 + random.normal(0, 0.4, (n, 4))
    return softmax(2 * image, axis=1), softmax(2 * both, axis=1), labels


def lost(image: Doubles, both: Doubles, labels: Ints, threshold: float) -> float:
    taken = image.max(axis=1) >= threshold
    return float((taken & (image.argmax(axis=1) != labels) & (both.argmax(axis=1) == labels)).mean())


@pytest.mark.parametrize("most", [0.005, 0.02])
def test_new_documents_lose_no_more_than_promised(most: float) -> None:
    shares, found = [], []
    for seed in range(60):
        cascade = fit_cascade(*answers(400, seed), most)
        assert cascade is not None
        shares.append(cascade.share)
        found.append(lost(*answers(4000, 1000 + seed), cascade.threshold))
    assert np.mean(found) <= most
    assert np.mean(found) > most / 4, "nor is it so careful that nothing is gained"
    assert 0.1 < np.mean(shares) < 0.9


def test_too_few_documents_promise_nothing() -> None:
    assert fit_cascade(*answers(198, 1)) is None
    assert fit_cascade(*answers(199, 1)) is not None


def test_a_text_that_never_helps_need_not_be_read() -> None:
    image, _, labels = answers(300, 3)
    cascade = fit_cascade(image, image, labels)
    assert cascade is not None
    assert (cascade.threshold, cascade.share) == (0.0, 1.0)


def test_an_image_that_is_surest_where_it_is_wrong_is_never_enough() -> None:
    labels = np.zeros(300, dtype=np.int64)
    image, both = np.tile([0.0, 1.0], (300, 1)), np.tile([1.0, 0.0], (300, 1))
    assert fit_cascade(image, both, labels) is None

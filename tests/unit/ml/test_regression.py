"""Multinomial logistic regression: as scikit-learn's, in whatever axes and parts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from dsdc.ml import regression
from dsdc.ml.judge import Judge
from dsdc.ml.regression import regress

_N, _WIDTH, _CLASSES = 90, 140, 3


def _documents() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    labels = np.arange(_N) % _CLASSES
    features = (random.random((_N, _WIDTH)) < 0.1).astype(np.float32)
    features[np.arange(_N), labels] += 1
    return features, labels


@pytest.mark.parametrize("rotated", [True, False])
def test_it_is_the_regression_that_scikit_learn_finds(rotated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not rotated:
        monkeypatch.setattr(regression, "_MOST_ROTATED", 0)
    features, labels = _documents()
    parts = [csr_array(features[:, :100]), features[:, 100:]]
    slopes, bias = regress(parts, labels, np.ones(_CLASSES, np.float32), 10.0)
    # scikit-learn's C counts the loss of all documents, ours the mean of it.
    other = LogisticRegression(C=10.0, max_iter=5000, tol=1e-8).fit(features, labels)
    assert slopes == pytest.approx(other.coef_, abs=0.02)
    assert bias - bias.mean() == pytest.approx(other.intercept_ - other.intercept_.mean(), abs=0.02)
    judge = Judge(_WIDTH, _CLASSES).learn(slopes, bias)
    assert np.exp(judge.score(parts)) == pytest.approx(other.predict_proba(features), abs=0.01)


def test_rare_classes_can_weigh_more() -> None:
    features, labels = _documents()
    features[:] = 0
    _, bias = regress([features], labels, np.array([1.0, 1.0, 2.0], np.float32), 10.0)
    assert bias[2] - bias[0] == pytest.approx(np.log(2), abs=0.01)


def test_before_it_has_learnt_all_classes_are_alike() -> None:
    assert Judge(4, 5).score([np.ones((2, 4), np.float32)]) == pytest.approx(np.log(1 / 5))

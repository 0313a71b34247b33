"""Temperature and prediction sets, measured on fresh data of a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from dsdc.errors import NotEnoughLabels
from dsdc.ml.calibrate import fit_temperature, probabilities
from dsdc.ml.conformal import decision, fit_floor, prediction_set, prediction_sets
from dsdc.ml.evaluate import Scored, evaluate


def truthful(n: int, seed: int, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax is the very chance by which the labels are drawn."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2.0, size=(n, classes))
    chances = probabilities(logits, 1.0)
    labels = (chances.cumsum(axis=1) > random.random((n, 1))).argmax(axis=1)
    return logits.astype(np.float32), labels


@pytest.mark.parametrize("boast", [3.0, 0.4])
def test_a_head_too_sure_or_too_shy_is_set_right_on_fresh_documents(boast: float) -> None:
    held_out, labels = truthful(2000, seed=0)
    temperature = fit_temperature(held_out * boast, labels)
    assert temperature == pytest.approx(boast, rel=0.1)
    fresh, truth = truthful(4000, seed=1)
    before, after = (
        evaluate(Scored(tuple("abcdefgh"), truth, p, p > 0.5), resamples=0).values
        for p in (probabilities(fresh * boast, 1.0), probabilities(fresh * boast, temperature))
    )
    assert after["nll"] < before["nll"] - 0.05
    assert after["ece"] < 0.03 < before["ece"]
    assert after["accuracy"] == before["accuracy"]


def test_a_handful_of_right_answers_does_not_make_certainty() -> None:
    logits = np.eye(4, dtype=np.float32)[[0, 1, 2, 3]] * 2
    temperature = fit_temperature(logits, np.arange(4))
    assert probabilities(logits, temperature).max() < 0.99


def test_nothing_held_out_is_said_so() -> None:
    with pytest.raises(NotEnoughLabels):
        fit_temperature(np.zeros((0, 3), dtype=np.float32), np.zeros(0, dtype=int))


def test_extreme_logits_stay_probabilities() -> None:
    found = probabilities(np.array([[4000.0, -4000.0, 0.0]], dtype=np.float32), 0.5)
    assert found.sum() == pytest.approx(1)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_on_fresh_documents_is_near_the_promise(coverage: float) -> None:
    held_out, labels = truthful(3000, seed=2)
    floor = fit_floor(probabilities(held_out, 1.0), labels, coverage)
    fresh, truth = truthful(8000, seed=3)
    sets = prediction_sets(probabilities(fresh, 1.0), floor)
    assert sets[np.arange(8000), truth].mean() == pytest.approx(coverage, abs=0.015)
    assert 1 <= sets.sum(axis=1).mean() < 8


def test_the_promise_holds_on_average_over_small_held_out_samples() -> None:
    fresh, truth = truthful(4000, seed=4)
    chances = probabilities(fresh, 1.0)
    covered = []
    for seed in range(60):
        held_out, labels = truthful(30, seed=100 + seed)
        sets = prediction_sets(chances, fit_floor(probabilities(held_out, 1.0), labels, 0.9))
        covered.append(sets[np.arange(4000), truth].mean())
    # 27.9 of 31: the promise is 0.9 at least, and at most 1/31 above it.
    assert 0.89 <= np.mean(covered) <= 0.94


def test_the_floor_is_the_right_order_statistic() -> None:
    chances = np.stack([np.linspace(0.1, 0.9, 9), 1 - np.linspace(0.1, 0.9, 9)], axis=1)
    # Ten documents with the new one; one in ten may be missed: the smallest of the nine.
    assert fit_floor(chances, np.zeros(9, dtype=int), 0.9) == pytest.approx(0.1)
    assert fit_floor(chances, np.zeros(9, dtype=int), 0.7) == pytest.approx(0.3)
    # Eight cannot promise nine in ten.
    assert fit_floor(chances[:8], np.zeros(8, dtype=int), 0.9) == 0.0
    assert fit_floor(np.zeros((0, 2)), np.zeros(0, dtype=int), 0.9) == 0.0


def test_a_set_is_never_empty_and_is_ordered() -> None:
    assert prediction_set(np.array([0.2, 0.5, 0.3]), 0.9).tolist() == [1]
    assert prediction_set(np.array([0.2, 0.5, 0.3]), 0.25).tolist() == [1, 2]
    assert prediction_set(np.array([0.2, 0.5, 0.3]), np.array([0.1, 0.6, 0.4])).tolist() == [1, 0]


def test_decision_accepts_from_the_threshold_on() -> None:
    assert [decision(p, 0.5) for p in (0.4999, 0.5, 1.0)] == ["review", "accept", "accept"]

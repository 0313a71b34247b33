"""Calibration and prediction sets, measured on fresh data of a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from dsdc.errors import NotEnoughLabels
from dsdc.ml.calibrate import EVIDENCE, evidence, fit_weights, only, probabilities
from dsdc.ml.conformal import decision, fit_floor, fit_threshold, prediction_sets
from dsdc.ml.evaluate import Scored, evaluate
from dsdc.ml.features import Block


def pooled(scores: np.ndarray, weights: tuple[float, ...] = (1.0,)) -> np.ndarray:
    """Probabilities of documents that are judged by image and text."""
    return probabilities(scores, dict.fromkeys(EVIDENCE, weights), np.zeros(len(scores), dtype=int))


def truthful(n: int, seed: int, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Scores `[n, 1, classes]` of one component whose softmax is the very chance by which the labels are drawn."""
    random = np.random.default_rng(seed)
    scores = random.normal(scale=2.0, size=(n, 1, classes))
    labels = (pooled(scores).cumsum(axis=1) > random.random((n, 1))).argmax(axis=1)
    return scores.astype(np.float32), labels


@pytest.mark.parametrize("boast", [3.0, 0.4])
def test_a_head_too_sure_or_too_shy_is_set_right_on_fresh_documents(boast: float) -> None:
    held_out, labels = truthful(2000, seed=0)
    weights = fit_weights(held_out * boast, labels)
    assert weights[0] == pytest.approx(1 / boast, rel=0.1)
    fresh, truth = truthful(4000, seed=1)
    before, after = (
        evaluate(Scored(tuple("abcdefgh"), truth, p, p > 0.5), resamples=0).values
        for p in (pooled(fresh * boast), pooled(fresh * boast, weights))
    )
    assert after["nll"] < before["nll"] - 0.05
    assert after["ece"] < 0.03 < before["ece"]
    assert after["accuracy"] == before["accuracy"]


def test_who_knows_counts_and_who_guesses_does_not() -> None:
    held_out, labels = truthful(2000, seed=0)
    noise = np.random.default_rng(5).normal(scale=2.0, size=held_out.shape)
    knows, guesses = fit_weights(np.concatenate([held_out, noise], axis=1), labels)
    assert knows == pytest.approx(1, abs=0.1)
    assert guesses < 0.05


def test_two_half_blind_judges_are_worth_more_together() -> None:
    random = np.random.default_rng(2)
    labels = random.integers(0, 8, 3000)
    views = [3 * np.eye(8)[labels] + random.normal(scale=2.0, size=(3000, 8)) for _ in range(2)]
    scores = np.stack([view - logsumexp(view, axis=1, keepdims=True) for view in views], axis=1)
    weights = fit_weights(scores[:1500], labels[:1500])
    together = pooled(scores[1500:], weights).argmax(axis=1) == labels[1500:]
    alone = scores[1500:, 0].argmax(axis=1) == labels[1500:]
    assert together.mean() > alone.mean() + 0.05
    assert min(weights) > 0.2


def test_a_handful_of_right_answers_does_not_make_certainty() -> None:
    scores = np.eye(4, dtype=np.float32)[:, None] * 2
    assert pooled(scores, fit_weights(scores, np.arange(4))).max() < 0.99


def test_nothing_held_out_is_said_so() -> None:
    with pytest.raises(NotEnoughLabels):
        fit_weights(np.zeros((0, 1, 3), dtype=np.float32), np.zeros(0, dtype=int))


def test_extreme_scores_stay_probabilities() -> None:
    found = pooled(np.array([[[4000.0, -4000.0, 0.0]]], dtype=np.float32), (2.0,))
    assert found.sum() == pytest.approx(1)
    assert np.isfinite(found).all()


def test_what_a_document_is_judged_by_decides_how_sure_to_be() -> None:
    blocks = {
        "image": Block(np.ones((4, 2), np.float32), np.array([True, True, False, False])),
        "text": Block(np.ones((4, 2), np.float32), np.array([True, False, True, False])),
        "layout": Block(np.ones((4, 2), np.float32), np.array([True, False, False, False])),
    }
    kinds = evidence(blocks)
    assert [EVIDENCE[kind] for kind in kinds] == ["both", "image", "text", "both"]
    seen = only(blocks, "image")
    assert seen["image"].present.tolist() == [True, True, False, False]
    assert not seen["text"].present.any()
    assert not seen["layout"].values.any()
    scores = np.tile(np.array([[[2.0, 0.0]]]), (4, 1, 1))
    found = probabilities(scores, {"both": (1.0,), "image": (0.1,), "text": (0.5,)}, kinds)
    assert found[0, 0] > found[2, 0] > found[1, 0]


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_coverage_on_fresh_documents_is_near_the_promise(coverage: float) -> None:
    held_out, labels = truthful(3000, seed=2)
    floor = fit_floor(pooled(held_out), labels, coverage)
    fresh, truth = truthful(8000, seed=3)
    sets = prediction_sets(pooled(fresh), floor)
    assert sets[np.arange(8000), truth].mean() == pytest.approx(coverage, abs=0.015)
    assert 1 <= sets.sum(axis=1).mean() < 8


def test_the_promise_holds_on_average_over_small_held_out_samples() -> None:
    fresh, truth = truthful(4000, seed=4)
    chances = pooled(fresh)
    covered = []
    for seed in range(60):
        held_out, labels = truthful(30, seed=100 + seed)
        sets = prediction_sets(chances, fit_floor(pooled(held_out), labels, 0.9))
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


def test_a_set_is_never_empty_whatever_the_floor() -> None:
    chances = np.array([[0.2, 0.5, 0.3]])
    members = [np.flatnonzero(prediction_sets(chances, floor)[0]).tolist() for floor in (0.9, 0.25)]
    assert members == [[1], [1, 2]]
    assert np.flatnonzero(prediction_sets(chances, np.array([0.1, 0.6, 0.4]))[0]).tolist() == [0, 1]
    each = prediction_sets(np.repeat(chances, 2, axis=0), np.array([[0.9], [0.25]]))
    assert each.sum(axis=1).tolist() == [1, 2]


@pytest.mark.parametrize("budget", [0.0, 0.11, 0.5])
def test_as_many_documents_are_reviewed_as_the_budget_allows(budget: float) -> None:
    scores, _ = truthful(2000, seed=7)
    fresh, _ = truthful(4000, seed=8)
    threshold = fit_threshold(pooled(scores).max(axis=1), budget)
    assert (pooled(fresh).max(axis=1) < threshold).mean() == pytest.approx(budget, abs=0.03)


def test_decision_accepts_from_the_threshold_on() -> None:
    assert [decision(p, 0.5) for p in (0.4999, 0.5, 1.0)] == ["review", "accept", "accept"]

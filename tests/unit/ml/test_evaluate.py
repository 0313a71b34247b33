"""Each metric against a case worked out by hand or by scikit-learn, with an empty class among them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, f1_score, log_loss, roc_auc_score

from dsdc.ml.evaluate import METRICS, Scored, bootstrap, evaluate, reliability, risk_coverage

CLASSES = ("letter", "memo", "invoice")


@pytest.fixture
def four() -> Scored:
    """Right, wrong, right, right; no invoice among them, though one memo is taken for one."""
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.1, 0.7], [0.4, 0.6, 0.0], [0.8, 0.1, 0.1]])
    sets = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0], [1, 0, 0]], dtype=bool)
    return Scored(CLASSES, np.array([0, 1, 1, 0]), probabilities, sets)


@pytest.fixture
def many() -> Scored:
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 400)
    probabilities = random.dirichlet(np.full(4, 0.7), 400)
    probabilities[np.arange(400), labels] += 0.3
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return Scored(("a", "b", "c", "d"), labels, probabilities, probabilities > 0.2)


def test_values_worked_out_by_hand(four: Scored) -> None:
    values = evaluate(four, resamples=0).values
    assert values["accuracy"] == 0.75
    # letter 1, memo 2/3 (one of two found, no false one), invoice 0 (one false one).
    assert values["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    # Every confidence is alone in its bin: 0.9 right, 0.7 wrong, 0.6 right, 0.8 right.
    assert values["ece"] == pytest.approx((0.1 + 0.7 + 0.4 + 0.2) / 4)
    assert values["ece_adaptive"] == pytest.approx((0.1 + 0.7 + 0.4 + 0.2) / 4)
    # Of the pairs (right, wrong) 0.9 and 0.8 are above 0.7, 0.6 is not.
    assert values["auroc_correct"] == pytest.approx(2 / 3)
    assert values["nll"] == pytest.approx(-(math.log(0.9) + math.log(0.1) + math.log(0.6) + math.log(0.8)) / 4)
    assert values["brier"] == pytest.approx((0.02 + (0.04 + 0.81 + 0.49) + 0.32 + 0.06) / 4)
    assert values["coverage"] == 0.75
    assert values["mean_set_size"] == 1.25
    # Accepting 1, 2, 3, 4 of them, surest first: no error, none, one of three, one of four.
    assert values["aurc"] == pytest.approx((0 + 0 + 1 / 3 + 1 / 4) / 4)
    assert values["errors_caught_at_20"] == 0  # 20 % of four documents is none of them


def test_a_class_without_documents_has_no_recall_and_is_told_from_zero(four: Scored) -> None:
    result = evaluate(four, resamples=50)
    invoice = result.per_class["invoice"]
    assert invoice.support == 0
    assert invoice.precision == 0
    assert math.isnan(invoice.recall) and math.isnan(invoice.f1) and math.isnan(invoice.coverage)
    assert result.per_class["memo"].recall == 0.5
    assert result.as_json()["per_class"]["invoice"]["recall"] is None
    assert "test/class_invoice_recall" not in result.flat("test/")
    assert "| invoice | 0.000 | n/a | n/a | n/a | 0 |" in result.markdown()


def test_errors_caught_counts_the_least_sure_first() -> None:
    confidence = np.linspace(0.5, 0.99, 100)
    correct = np.ones(100, dtype=bool)
    correct[[0, 3, 10, 50]] = False
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    scored = Scored(("a", "b"), np.where(correct, 0, 1), probabilities, probabilities > 0.5)
    values = evaluate(scored, resamples=0).values
    assert values["errors_caught_at_5"] == 0.5
    assert values["errors_caught_at_11"] == 0.75
    assert values["errors_caught_at_20"] == 0.75


def test_what_has_no_meaning_is_nan_and_never_reaches_json_or_the_tracker() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]])
    result = evaluate(Scored(("a", "b"), np.array([0, 1]), probabilities, probabilities > 0.5), resamples=20)
    assert math.isnan(result.values["auroc_correct"])
    assert math.isnan(result.values["errors_caught_at_11"])
    assert all(math.isfinite(value) for value in result.flat().values())
    assert json.loads(json.dumps(result.as_json(), allow_nan=False))["auroc_correct"] is None


def test_values_agree_with_scikit_learn(many: Scored) -> None:
    values = evaluate(many, resamples=0).values
    assert values["macro_f1"] == pytest.approx(f1_score(many.labels, many.predicted, average="macro"))
    assert values["auroc_correct"] == pytest.approx(roc_auc_score(many.correct, many.confidence))
    assert values["nll"] == pytest.approx(log_loss(many.labels, many.probabilities))
    assert values["brier"] == pytest.approx(
        brier_score_loss(many.labels, many.probabilities, labels=range(4), scale_by_half=False)
    )


def test_ece_of_one_bin_is_the_gap_of_its_means() -> None:
    probabilities = np.tile([0.75, 0.25], (10, 1))
    labels = np.array([0] * 6 + [1] * 4)
    values = evaluate(Scored(("a", "b"), labels, probabilities, probabilities > 0), resamples=0).values
    assert values["ece"] == pytest.approx(0.15)


def test_certainty_falls_into_the_last_bin() -> None:
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0]])
    bins = reliability(Scored(("a", "b"), np.array([0, 1]), probabilities, probabilities > 0))
    assert [(b.documents, b.accuracy, b.high) for b in bins] == [(2, 0.5, 1.0)]


def test_intervals_hold_the_value_and_shrink_with_documents(many: Scored) -> None:
    result = evaluate(many, resamples=300)
    low, high = result.intervals["accuracy"]
    assert low < result.values["accuracy"] < high
    few_low, few_high = evaluate(many.take(np.arange(40)), resamples=300).intervals["accuracy"]
    assert few_high - few_low > 2 * (high - low)
    meant = {metric.name for metric in METRICS if metric.interval and np.isfinite(result.values[metric.name])}
    assert set(result.intervals) == meant


def test_drawing_whole_groups_widens_an_interval_that_copies_would_flatter(many: Scored) -> None:
    copies = many.take(np.tile(np.arange(50), 8))
    alone = evaluate(copies, resamples=300).intervals["accuracy"]
    grouped = evaluate(copies, groups=np.tile(np.arange(50), 8), resamples=300).intervals["accuracy"]
    assert grouped[1] - grouped[0] > 2 * (alone[1] - alone[0])


def test_bootstrap_is_the_same_for_one_seed() -> None:
    first = [rows.tolist() for rows in bootstrap(9, resamples=3, seed=4)]
    assert first == [rows.tolist() for rows in bootstrap(9, resamples=3, seed=4)]
    assert first != [rows.tolist() for rows in bootstrap(9, resamples=3, seed=5)]


def test_risk_at_full_coverage_is_the_error_rate(many: Scored) -> None:
    accepted, risk = risk_coverage(many)
    assert accepted[-1] == 1
    assert risk[-1] == pytest.approx(1 - many.correct.mean())


def test_no_documents_is_an_error_and_not_a_score() -> None:
    nothing = Scored(("a", "b"), np.zeros(0, dtype=np.int64), np.zeros((0, 2)), np.zeros((0, 2), dtype=bool))
    with pytest.raises(ValueError, match="no documents"):
        evaluate(nothing)

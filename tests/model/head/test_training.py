"""The real loop on small made-up documents: it learns, repeats itself, and copes with what is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from dsdc.errors import NotEnoughLabels
from dsdc.ml.calibrate import probabilities
from dsdc.ml.conformal import prediction_sets
from dsdc.ml.features import Block, DocumentSet
from dsdc.ml.fit import Fitted, cross_validate, fit
from dsdc.ml.split import Split, make_folds, make_split
from dsdc.ml.train import Epoch, class_weights, logits, train
from tests.model.head.synthetic import CLASSES, QUICK, clusters

CHANCE = 1 / len(CLASSES)


def _split(data: DocumentSet) -> Split:
    return make_split(data.labels, data.groups, valid_share=0.15, test_share=0.15, seed=0)


def _fresh_accuracy(fitted: Fitted, fresh: DocumentSet) -> float:
    return float((logits(fitted.run.head, fresh).argmax(axis=1) == fresh.labels).mean())


def _against_logistic_regression(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and mean surprise on fresh documents: of the head, and of the best of three logistic regressions."""
    data, fresh = clusters(n, seed=seed), clusters(2000, seed=seed + 50)
    fitted = fit(data, _split(data), QUICK, coverage=0.9, resamples=0)
    rows = np.concatenate([fitted.run.split.train, fitted.run.split.valid])
    columns, unseen = (
        np.concatenate([d.image, d.text, d.has_image[:, None], d.has_text[:, None]], axis=1) for d in (data, fresh)
    )
    rivals = [LogisticRegression(C=c, max_iter=2000).fit(columns[rows], data.labels[rows]) for c in (1, 10, 100)]
    ours = probabilities(logits(fitted.run.head, fresh), fitted.temperature)
    scores = [_score(p, fresh.labels) for p in (ours, *(rival.predict_proba(unseen) for rival in rivals))]
    return scores[0], min(scores[1:], key=lambda score: float(score[1]))


def _score(found: np.ndarray, labels: np.ndarray) -> np.ndarray:
    right = found[np.arange(len(labels)), labels]
    return np.array([(found.argmax(axis=1) == labels).mean(), -np.log(np.maximum(right, 1e-12)).mean()])


@pytest.mark.parametrize("n", [160, 800])
def test_head_is_as_good_as_logistic_regression_on_little_data(n: int) -> None:
    ours, rival = np.mean([_against_logistic_regression(n, seed) for seed in (1, 2, 3)], axis=0)
    # The rival is tuned on the very documents it is judged on, and learns from the validation part as well.
    assert ours[0] >= rival[0] - 0.03, f"accuracy {ours[0]:.3f} against {rival[0]:.3f}"
    assert ours[1] <= rival[1] + 0.08, f"surprise {ours[1]:.3f} against {rival[1]:.3f}"
    assert ours[0] > 4 * CHANCE


def test_a_hundred_documents_are_enough_to_keep_the_promised_coverage() -> None:
    shares = []
    for seed in (1, 2, 3):
        data, fresh = clusters(160, seed=seed), clusters(2000, seed=seed + 50)
        fitted = fit(data, _split(data), QUICK, coverage=0.9, resamples=0)
        found = probabilities(logits(fitted.run.head, fresh), fitted.temperature)
        shares.append(prediction_sets(found, fitted.floor)[np.arange(len(fresh)), fresh.labels].mean())
    # A floor from 136 documents lets one coverage scatter by sqrt(0.9 * 0.1 / 136) = 0.026, the mean by 0.015.
    assert abs(np.mean(shares) - 0.9) < 0.03, shares


def test_training_lowers_the_loss_and_keeps_the_best_epoch(fitted: Fitted) -> None:
    points = fitted.run.epochs
    best = points[fitted.run.best_epoch]
    assert best.valid_loss == min(point.valid_loss for point in points)
    assert best.valid_loss < 0.6 * np.log(len(CLASSES))
    assert points[-1].train_loss < 0.7 * points[0].train_loss
    assert points[0].learning_rate > points[-1].learning_rate >= 0
    assert len(points) <= QUICK.epochs


def test_what_is_kept_is_the_best_epoch_and_not_the_last() -> None:
    data = clusters(160, noise=4.0)
    run = train(data, _split(data), QUICK.model_copy(update={"patience": 20, "learning_rate": 0.01}))
    assert run.best_epoch < len(run.epochs) - 1
    rows = run.split.valid
    chances = probabilities(logits(run.head, data, rows), 1.0)[np.arange(len(rows)), data.labels[rows]]
    assert -np.log(chances).mean() == pytest.approx(run.epochs[run.best_epoch].valid_loss, rel=1e-4)


def test_stops_early_and_reports_progress() -> None:
    data = clusters(160)
    seen: list[Epoch] = []
    run = train(data, _split(data), QUICK.model_copy(update={"patience": 3, "learning_rate": 0.05}), seen.append)
    assert tuple(seen) == run.epochs
    assert len(run.epochs) == run.best_epoch + 4 < QUICK.epochs


def test_same_seed_same_bytes_other_seed_others() -> None:
    data = clusters(200)
    threads = torch.get_num_threads()
    one = train(data, _split(data), QUICK)
    torch.rand(7)
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        two = train(data, _split(data), QUICK)
    finally:
        torch.set_num_threads(threads)
    other = train(data, _split(data), QUICK.model_copy(update={"seed": 5}))
    assert one.head_sha256 == two.head_sha256 != other.head_sha256
    assert [point.valid_loss for point in one.epochs] == [point.valid_loss for point in two.epochs]


def test_training_leaves_the_random_state_and_settings_of_others_alone() -> None:
    data = clusters(80)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train(data, _split(data), QUICK.model_copy(update={"epochs": 2}))
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("modality", ["image", "text"])
def test_one_modality_alone_is_enough_for_a_useful_answer(modality: str) -> None:
    # No document is without a modality in training: what is learned about missing ones comes from dropping them.
    data, fresh = clusters(640, missing=0.0), clusters(1200, seed=9, missing=0.0)
    only = DocumentSet(
        **{
            **vars(fresh),
            modality: np.zeros_like(vars(fresh)[modality]),
            f"has_{modality}": np.zeros(len(fresh), dtype=bool),
        }
    )
    dropped = fit(data, _split(data), QUICK.model_copy(update={"modality_dropout": 0.3}), coverage=0.9, resamples=0)
    never = fit(data, _split(data), QUICK.model_copy(update={"modality_dropout": 0.0}), coverage=0.9, resamples=0)
    assert _fresh_accuracy(dropped, only) > 4 * CHANCE
    surprise = {
        name: _score(probabilities(logits(f.run.head, only), f.temperature), only.labels)[1]
        for name, f in (("dropped", dropped), ("never", never))
    }
    assert surprise["dropped"] < surprise["never"]


def test_documents_with_nothing_at_all_get_the_class_shares() -> None:
    data = clusters(160)
    fitted = fit(data, _split(data), QUICK, coverage=0.9, resamples=0)
    nothing = DocumentSet(
        **{
            **vars(data),
            "image": data.image * 0,
            "text": data.text * 0,
            "has_image": data.has_image & False,
            "has_text": data.has_text & False,
        }
    )
    found = probabilities(logits(fitted.run.head, nothing), fitted.temperature)
    assert np.isfinite(found).all()
    assert np.ptp(found, axis=0).max() < 1e-6
    assert found.max() < 0.5


def test_values_behind_a_mask_do_not_matter() -> None:
    data = clusters(160)
    fitted = fit(data, _split(data), QUICK, coverage=0.9, resamples=0)
    noisy = DocumentSet(**{**vars(data), "text": np.where(data.has_text[:, None], data.text, 7).astype(np.float32)})
    assert np.array_equal(logits(fitted.run.head, noisy), logits(fitted.run.head, data))


def test_an_archive_without_any_text_trains_on_images() -> None:
    data = clusters(320, missing=0.0)
    for width in (0, 32):
        mute = DocumentSet(
            **{**vars(data), "text": np.zeros((320, width), np.float32), "has_text": np.zeros(320, dtype=bool)}
        )
        fitted = fit(mute, _split(mute), QUICK, coverage=0.9, resamples=0)
        assert fitted.test.values["accuracy"] > 3 * CHANCE


def test_a_further_modality_enters_without_a_change_of_code() -> None:
    data = clusters(320, noise=6.0)
    told = Block(np.eye(len(CLASSES), dtype=np.float32)[data.labels], np.ones(320, dtype=bool))
    richer = DocumentSet(**{**vars(data), "extra": {"layout": told}})
    plain, rich = (fit(d, _split(d), QUICK, coverage=0.9, resamples=0).test.values["accuracy"] for d in (data, richer))
    assert rich > plain + 0.2


def test_a_class_that_no_split_but_training_holds_is_reported_without_documents() -> None:
    data = clusters(200)
    groups = np.where(data.labels == 3, 10_000, data.groups)
    grouped = DocumentSet(**{**vars(data), "groups": groups})
    fitted = fit(grouped, _split(grouped), QUICK, coverage=0.9, resamples=0)
    assert fitted.test.per_class[CLASSES[3]].support == 0
    assert np.isfinite(fitted.test.values["accuracy"])


def test_too_little_to_train_on_is_said_so() -> None:
    data = clusters(16)
    rows = np.flatnonzero(data.labels == 0)
    with pytest.raises(NotEnoughLabels, match="1 classes"):
        train(data, Split(rows, rows, rows), QUICK)


def test_rare_classes_weigh_more_but_less_than_in_full() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    weights = class_weights(labels, 3)
    assert weights[1] / weights[0] == pytest.approx(3)
    assert weights[2] == 0
    assert weights[labels].mean() == pytest.approx(1)


def test_cross_validation_scores_every_document_once() -> None:
    data = clusters(160)
    folds = make_folds(data.labels, data.groups, folds=3, valid_share=0.2, seed=0)
    result = cross_validate(data, folds, QUICK, coverage=0.9)
    assert sum(report.support for report in result.per_class.values()) == 160
    assert result.values["accuracy"] > 3 * CHANCE
    low, high = result.intervals["accuracy"]
    assert low < result.values["accuracy"] < high


def test_prediction_sets_of_a_fitted_head_cover_fresh_documents() -> None:
    data, fresh = clusters(1200), clusters(3000, seed=8)
    fitted = fit(data, _split(data), QUICK, coverage=0.9, resamples=0)
    found = probabilities(logits(fitted.run.head, fresh), fitted.temperature)
    covered = (found >= fitted.floor)[np.arange(len(fresh)), fresh.labels].mean()
    # 180 held-out documents: the promise, give or take two standard deviations of such a sample.
    assert covered == pytest.approx(0.9, abs=0.05)

"""The real loop on small made-up documents: it learns, repeats itself, and copes with what is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

from dsdc.errors import NotEnoughLabels
from dsdc.ml.calibrate import EVIDENCE, evidence, only, probabilities
from dsdc.ml.conformal import prediction_sets
from dsdc.ml.features import Block, DocumentSet, Floats
from dsdc.ml.fit import Fitted, cross_fit, fit, floor_of, judge
from dsdc.ml.heldout import HeldOut
from dsdc.ml.split import make_folds
from dsdc.ml.train import class_weights, scores, train
from tests.model.head.synthetic import CLASSES, QUICK, clusters

CHANCE = 1 / len(CLASSES)


def _fit(data: DocumentSet, **changes: object) -> Fitted:
    config = QUICK.model_copy(update=changes)
    return fit(data, config, coverage=0.9, review_budget=0.15, resamples=0)


def _answers(fitted: Fitted, data: DocumentSet) -> Floats:
    blocks = data.blocks()
    return probabilities(scores(fitted.run.head, blocks), fitted.thresholds.weights, evidence(blocks))


def _worth(found: Floats, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy and mean surprise."""
    right = found[np.arange(len(labels)), labels]
    return float((found.argmax(axis=1) == labels).mean()), float(-np.log(np.maximum(right, 1e-12)).mean())


def _with_words(data: DocumentSet, *, kinds: int = 400, seed: int = 0) -> DocumentSet:
    """The same documents with a sparse modality: words, a few of which tell the class."""
    random = np.random.default_rng(seed)
    counts = random.poisson(0.05, size=(len(data), kinds))
    counts[np.arange(len(data)), data.labels * 5 + random.integers(0, 5, len(data))] += 2
    words = Block(csr_array(counts.astype(np.float32)), np.ones(len(data), dtype=bool))
    return DocumentSet(**{**vars(data), "extra": {"words": words}})


@pytest.mark.parametrize("n", [160, 800])
def test_head_is_as_good_as_logistic_regression_on_little_data(n: int) -> None:
    ours, rivals = [], []
    for seed in (1, 2, 3):
        data, fresh = clusters(n, seed=seed), clusters(2000, seed=seed + 50)
        columns, unseen = (
            np.concatenate([d.image, d.text, d.has_image[:, None], d.has_text[:, None]], axis=1) for d in (data, fresh)
        )
        ours.append(_worth(_answers(_fit(data, epochs=60), fresh), fresh.labels))
        models = [LogisticRegression(C=c, max_iter=2000).fit(columns, data.labels) for c in (1, 10, 100)]
        # The rival is tuned on the very documents it is judged on.
        rivals.append(min((_worth(m.predict_proba(unseen), fresh.labels) for m in models), key=lambda worth: worth[1]))
    (accuracy, surprise), (rival_accuracy, rival_surprise) = np.mean(ours, axis=0), np.mean(rivals, axis=0)
    assert accuracy >= rival_accuracy - 0.03
    assert surprise <= rival_surprise + 0.1
    assert accuracy > 4 * CHANCE


def test_a_hundred_documents_are_enough_to_keep_the_promised_coverage() -> None:
    shares = []
    for seed in (1, 2, 3):
        fitted, fresh = _fit(clusters(160, seed=seed)), clusters(2000, seed=seed + 50)
        floors = floor_of(fitted.thresholds.floors, evidence(fresh.blocks()))
        sets = prediction_sets(_answers(fitted, fresh), floors)
        shares.append(sets[np.arange(len(fresh)), fresh.labels].mean())
    # The heads that were judged had a third less to learn from than the one that answers: rather more than promised.
    assert -0.03 < np.mean(shares) - 0.9 < 0.06, shares


def test_the_estimate_is_what_fresh_documents_show_and_rather_less() -> None:
    fitted, fresh = _fit(clusters(800)), clusters(3000, seed=9)
    accuracy, surprise = _worth(_answers(fitted, fresh), fresh.labels)
    assert -0.02 < accuracy - fitted.estimate.values["accuracy"] < 0.06
    assert -0.15 < surprise - fitted.estimate.values["nll"] < 0.05
    assert fitted.estimate.values["reviewed"] == pytest.approx(0.15, abs=0.03)
    assert fitted.estimate.values["accuracy_accepted"] > fitted.estimate.values["accuracy"]


def test_duplicates_do_not_flatter_the_estimate() -> None:
    data = clusters(160, noise=6.0)
    twice = data.take(np.repeat(np.arange(160), 2))
    known = DocumentSet(**{**vars(twice), "groups": np.repeat(np.arange(160), 2)})
    unknown = DocumentSet(**{**vars(twice), "groups": np.arange(320)})
    honest, flattered = (_fit(d).estimate.values["accuracy"] for d in (known, unknown))
    assert flattered > honest + 0.2
    assert honest == pytest.approx(_fit(data).estimate.values["accuracy"], abs=0.08)


def test_training_lowers_the_loss(fitted: Fitted) -> None:
    points = fitted.run.epochs
    assert [point.epoch for point in points] == list(range(len(points)))
    half = len(points) // QUICK.members
    assert points[half - 1].train_loss < 0.8 * points[0].train_loss
    assert points[half - 1].learning_rate < points[half // 2].learning_rate


def test_progress_covers_all_trainings_and_ends_with_nothing_left() -> None:
    seen: list[tuple[int, int]] = []
    fit(clusters(80), QUICK, coverage=0.9, review_budget=0.1, resamples=0, progress=lambda *step: seen.append(step))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1][1] == 0
    assert seen[0][1] > QUICK.folds * QUICK.members


def test_same_seed_same_bytes_other_seed_others() -> None:
    data = _with_words(clusters(200))
    threads = torch.get_num_threads()
    one = train(data, QUICK)
    torch.rand(7)
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        two = train(data, QUICK)
    finally:
        torch.set_num_threads(threads)
    other = train(data, QUICK.model_copy(update={"seed": 5}))
    assert one.head_sha256 == two.head_sha256 != other.head_sha256
    assert [point.train_loss for point in one.epochs] == [point.train_loss for point in two.epochs]


def test_training_leaves_the_random_state_and_settings_of_others_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train(clusters(80), QUICK.model_copy(update={"epochs": 2}))
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("kind", ["image", "text"])
def test_one_modality_alone_is_enough_for_a_useful_and_honest_answer(kind: str) -> None:
    # No document is without a modality in training: what is learned about missing ones comes from dropping them.
    data, fresh = clusters(640, missing=0.0), clusters(1200, seed=9, missing=0.0)
    labels, blocks = fresh.labels, only(fresh.blocks(), kind)  # type: ignore[arg-type]
    dropped, never = (_fit(data, modality_dropout=share) for share in (0.3, 0.0))
    weights = dropped.thresholds.weights
    found = probabilities(scores(dropped.run.head, blocks), weights, evidence(blocks))
    assert _worth(found, labels)[0] > 4 * CHANCE
    raw = probabilities(scores(never.run.head, blocks), dict.fromkeys(EVIDENCE, weights["both"]), evidence(blocks))
    assert _worth(found, labels)[1] < _worth(raw, labels)[1]
    assert found.max(axis=1).mean() == pytest.approx(_worth(found, labels)[0], abs=0.08)


def test_documents_with_nothing_at_all_get_one_and_the_same_doubtful_answer() -> None:
    data = clusters(160)
    nothing = {name: block.without() for name, block in data.blocks().items()}
    fitted = _fit(data)
    found = probabilities(scores(fitted.run.head, nothing), fitted.thresholds.weights, evidence(nothing))
    assert np.isfinite(found).all()
    assert np.ptp(found, axis=0).max() < 1e-6
    assert found.max() < 0.5


def test_values_behind_a_mask_do_not_matter() -> None:
    data = clusters(160)
    head = train(data, QUICK).head
    noisy = DocumentSet(**{**vars(data), "text": np.where(data.has_text[:, None], data.text, 7).astype(np.float32)})
    assert np.array_equal(scores(head, noisy.blocks()), scores(head, data.blocks()))


def test_an_archive_without_any_text_trains_on_images() -> None:
    data = clusters(320, missing=0.0)
    for width in (0, 32):
        mute = DocumentSet(
            **{**vars(data), "text": np.zeros((320, width), np.float32), "has_text": np.zeros(320, dtype=bool)}
        )
        assert _fit(mute).estimate.values["accuracy"] > 3 * CHANCE


def test_a_further_modality_enters_without_a_change_of_code() -> None:
    data = clusters(320, noise=6.0)
    told = Block(np.eye(len(CLASSES), dtype=np.float32)[data.labels], np.ones(320, dtype=bool))
    richer = DocumentSet(**{**vars(data), "extra": {"layout": told}})
    plain, rich = (_fit(d).estimate.values["accuracy"] for d in (data, richer))
    assert rich > plain + 0.2


def test_what_is_judged_by_the_image_alone_has_a_judge_that_learnt_from_images_alone() -> None:
    data, fresh = clusters(640, missing=0.0), clusters(1200, seed=9, missing=0.0)
    head = train(data, QUICK).head
    seen = only(fresh.blocks(), "image")
    own = scores(head, seen)[:, head.architecture.components.index("judge")]
    head.judges["image"].load_state_dict(
        {"slopes": head.judge("both").slopes[:, : head.judge("image").slopes.shape[1]], "bias": head.judge("both").bias}
    )
    borrowed = scores(head, seen)[:, 1]
    assert _worth(np.exp(own), fresh.labels)[1] < _worth(np.exp(borrowed), fresh.labels)[1] - 0.05


def test_sparse_words_are_read_by_the_judge_and_its_weight_is_learnt() -> None:
    data = clusters(320, noise=8.0)
    plain, worded = _fit(data), _fit(_with_words(data))
    assert worded.components == ("network", "judge")
    assert worded.estimate.values["accuracy"] > plain.estimate.values["accuracy"] + 0.3
    assert worded.thresholds.weights["both"][1] > 0.2
    fresh = _with_words(clusters(600, seed=4, noise=8.0), seed=9)
    assert _worth(_answers(worded, fresh), fresh.labels)[0] > worded.estimate.values["accuracy"] - 0.1
    without = DocumentSet(**{**vars(fresh), "extra": {"words": fresh.extra["words"].without()}})
    assert np.isfinite(_answers(worded, without)).all()


def test_words_that_no_training_document_had_are_nothing_new() -> None:
    data = _with_words(clusters(160))
    fitted = _fit(data)
    strange = csr_array((np.ones(3, np.float32), ([0, 1, 2], [397, 398, 399])), shape=(160, 400))
    silent = {**data.blocks(), "words": Block(strange * np.float32(0), np.ones(160, dtype=bool))}
    assert np.isfinite(scores(fitted.run.head, silent)).all()


def test_a_class_whose_documents_are_all_one_original_is_reported() -> None:
    data = clusters(200)
    groups = np.where(data.labels == 3, 10_000, data.groups)
    report = _fit(DocumentSet(**{**vars(data), "groups": groups})).estimate.per_class[CLASSES[3]]
    assert report.support == 25
    assert report.recall == 0


def test_too_little_to_train_on_is_said_so() -> None:
    data = clusters(16)
    with pytest.raises(NotEnoughLabels, match="1 classes"):
        train(data.take(np.flatnonzero(data.labels == 0)), QUICK)


def test_rare_classes_weigh_more_but_less_than_in_full() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    weights = class_weights(labels, 3)
    assert weights[1] / weights[0] == pytest.approx(3)
    assert weights[2] == 0
    assert weights[labels].mean() == pytest.approx(1)


def test_cross_fitting_scores_every_document_once_in_its_place() -> None:
    data = clusters(160)
    folds = make_folds(data.labels, data.groups, folds=3, seed=0)
    held_out = cross_fit(data, folds, QUICK)
    assert {kind: part.shape for kind, part in held_out.items()} == dict.fromkeys(EVIDENCE, (160, 2, len(CLASSES)))
    head = train(data.take(folds[1].train), QUICK).head
    assert np.array_equal(held_out["both"][folds[1].test], scores(head, data.take(folds[1].test).blocks()))
    result = judge(data, folds, held_out, coverage=0.9, review_budget=0.1)
    assert sum(report.support for report in result.per_class.values()) == 160
    low, high = result.intervals["accuracy"]
    assert low < result.values["accuracy"] < high


def test_what_was_held_out_is_kept_beside_the_head(fitted: Fitted, head_folder) -> None:
    data = clusters(480)
    kept = HeldOut.load(head_folder)
    assert kept.document_ids == data.document_ids
    assert np.array_equal(kept.labels, data.labels)
    assert np.allclose(kept.probabilities, fitted.estimate.scored.probabilities, atol=1e-6)
    assert all((kept.folds[fold.test] == number).all() for number, fold in enumerate(fitted.folds))

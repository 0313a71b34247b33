"""References instead of training: prompts before there is a label, then the labelled documents beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load
from scipy.sparse import csr_array

from dsdc.ml import calibrate
from dsdc.ml.coldstart import CAUTIOUS, fit_cold, hold_out_folds, prompts_of
from dsdc.ml.conformal import prediction_sets
from dsdc.ml.features import Block, DocumentSet
from dsdc.ml.fit import Fitted, floor_of
from dsdc.ml.neighbours import NeighbourHead, References, survey, with_references
from dsdc.ml.train import head_bytes, scores
from dsdc.processors.describe import CharacterNgrams, WordLayout, WordNgrams
from dsdc.processors.registry import ProcessorSet
from dsdc.settings import Train
from dsdc.taxonomy import LabelClass
from tests.fake_processors import LineRenderer, NothingInside, SameCleaner, SmallEmbedder, WidthReader
from tests.model.head.synthetic import CLASSES, clusters

K = len(CLASSES)
CONFIG = Train(folds=5)
NOTHING = References({}, np.empty(0, np.int64))


def documents(n: int, *, seed: int = 0, noise: float = 2.2) -> DocumentSet:
    """Clusters with words: five of 200 kinds tell the class, now and then."""
    data = clusters(n, seed=seed, noise=noise, missing=0.1)
    random = np.random.default_rng(seed)
    counts = random.poisson(0.05, size=(n, 200)).astype(np.float32)
    counts[np.arange(n), data.labels * 5 + random.integers(0, 5, n)] += 2 * (random.random(n) < 0.7)
    counts *= data.has_text[:, None]
    return replace(data, extra={"words": Block(csr_array(counts), data.has_text & (counts.sum(axis=1) > 0))})


def prompts() -> References:
    """A class's prompt holds two of its words; it is nowhere near the documents' vectors, but on its class's side."""
    random = np.random.default_rng(32)
    centres = np.random.default_rng(32).normal(size=(K, 32))
    vectors = centres + 3.0 + random.normal(scale=0.5, size=(K, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    counts = np.zeros((K, 200), np.float32)
    counts[np.repeat(np.arange(K), 2), [5 * k + word for k in range(K) for word in (0, 1)]] = 1
    there = np.ones(K, dtype=bool)
    blocks = {"text": Block(vectors.astype(np.float32), there), "words": Block(csr_array(counts), there)}
    return References(blocks, np.arange(K))


def head_of(known: DocumentSet | None, archive: DocumentSet | None = None) -> NeighbourHead:
    labelled = NOTHING if known is None else References(known.blocks(), known.labels)
    seen = survey((archive or documents(100, seed=77)).blocks(), 1000)
    return with_references(labelled, prompts(), seen, classes=K)


def accuracy(head: NeighbourHead, data: DocumentSet) -> float:
    return float((scores(head, data.blocks())[:, 0].argmax(axis=1) == data.labels).mean())


def cold(data: DocumentSet, method: str = "neighbours", **changes: object) -> Fitted:
    given = {"method": method, "prompts": prompts(), "archive": documents(400, seed=77).blocks(), "resamples": 0}
    return fit_cold(data, CONFIG, coverage=0.9, review_budget=0.15, **{**given, **changes})  # type: ignore[arg-type]


def answers(fitted: Fitted, data: DocumentSet) -> np.ndarray:
    blocks = data.blocks()
    return calibrate.probabilities(
        scores(fitted.run.head, blocks), fitted.thresholds.weights, calibrate.evidence(blocks)
    )


def test_names_alone_are_better_than_chance_and_labels_better_than_names() -> None:
    archive, fresh = documents(400, seed=77), documents(800, seed=9)
    found = [accuracy(head_of(documents(n) if n else None, archive), fresh) for n in (0, K, 5 * K)]
    assert found[0] > 2 / K
    assert found[0] < found[1] < found[2]
    assert head_of(None, archive).kind == "zero-shot"
    assert head_of(documents(K), archive).kind == "neighbours"


def test_names_help_where_labels_are_few() -> None:
    archive, fresh = documents(400, seed=77), documents(800, seed=9)
    few = References(documents(K).blocks(), documents(K).labels)
    without = with_references(few, NOTHING, survey(archive.blocks(), 1000), classes=K)
    assert accuracy(head_of(documents(K), archive), fresh) > accuracy(without, fresh) + 0.02


def test_scores_are_log_probabilities_of_one_component() -> None:
    head = head_of(documents(3 * K), documents(400, seed=77))
    found = scores(head, documents(50, seed=4).blocks())
    assert found.shape == (50, 1, K)
    assert np.allclose(np.exp(found).sum(axis=2), 1, atol=1e-5)
    assert head.architecture.components == ("neighbours",)


def test_the_answer_is_as_computed_by_hand() -> None:
    east, north = np.array([[1.0, 0.0]], np.float32), np.array([[0.0, 1.0]], np.float32)
    there = np.ones(2, dtype=bool)
    known = References({"image": Block(np.concatenate([east, north]), there)}, np.array([0, 1]))
    archive = {"image": Block(np.array([[1, 0], [0, 1], [-1, 0], [0, -1]], np.float32), np.ones(4, dtype=bool))}
    head = with_references(known, NOTHING, survey(archive, 10), classes=2)
    (found,) = scores(head, {"image": Block(east, there[:1])})[:, 0]
    # The mean of the archive is 0; similarities are 1 and 0, and eight of them are too few for a temperature.
    odds = 0.2 * (1.0 - 0.0) / (0.7 * 0.15)
    assert found[0] - found[1] == pytest.approx(odds, rel=1e-4)


def test_a_document_of_which_nothing_is_known_gets_all_classes_alike() -> None:
    head = head_of(documents(2 * K))
    blocks = {name: block.without() for name, block in documents(5).blocks().items()}
    assert np.allclose(scores(head, blocks), -np.log(K), atol=1e-6)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_one_modality_is_enough_and_less_sure(kind: str) -> None:
    head, fresh = head_of(documents(5 * K), documents(400, seed=77)), documents(800, seed=9)
    both = scores(head, fresh.blocks())[:, 0]
    alone = scores(head, calibrate.only(fresh.blocks(), kind))[:, 0]  # type: ignore[arg-type]
    assert (alone.argmax(axis=1) == fresh.labels).mean() > 2 / K
    assert alone.max(axis=1).mean() < both.max(axis=1).mean()


def test_a_class_without_documents_is_still_found_by_its_name() -> None:
    archive, fresh = documents(400, seed=77), documents(1600, seed=9)
    known = documents(5 * K)
    known = known.take(np.flatnonzero(known.labels != 3))
    mine = fresh.take(np.flatnonzero(fresh.labels == 3))
    assert accuracy(head_of(known, archive), mine) > 1.5 / K


def test_more_documents_of_one_class_do_not_drown_the_others() -> None:
    many = documents(20 * K)
    rare = np.flatnonzero((many.labels == 0) | (np.arange(20 * K) < 4 * K))
    found = scores(head_of(many.take(rare), documents(400, seed=77)), documents(800, seed=9).blocks())[:, 0]
    assert (found.argmax(axis=1) == 0).mean() < 2.5 / K


def test_equal_references_give_equal_bytes_and_the_bytes_give_the_head_back() -> None:
    data, fresh = documents(3 * K), documents(40, seed=5).blocks()
    one, two = head_of(data, documents(100, seed=7)), head_of(data, documents(100, seed=7))
    assert head_bytes(one) == head_bytes(two) != head_bytes(head_of(data, documents(100, seed=8)))
    again = NeighbourHead(one.architecture)
    again.load_state_dict(load(head_bytes(one)))
    assert np.array_equal(scores(again, fresh), scores(one, fresh))
    assert not list(one.parameters())


def test_reading_leaves_the_documents_as_they_were() -> None:
    data = documents(2 * K)
    before = _arrays(data)
    scores(head_of(data, data), data.blocks())
    assert all(np.array_equal(now, then) for now, then in zip(_arrays(data), before, strict=True))


def _arrays(data: DocumentSet) -> list[np.ndarray]:
    values = [block.values for block in data.blocks().values()]
    return [(v.toarray() if isinstance(v, csr_array) else v).copy() for v in values]


def test_nothing_to_compare_with_is_an_error() -> None:
    with pytest.raises(ValueError, match="neither"):
        with_references(NOTHING, NOTHING, survey(documents(8).blocks(), 10), classes=K)


def test_without_labels_everything_is_reviewed_and_no_class_is_excluded() -> None:
    fitted = cold(documents(8).take(np.empty(0, np.int64)), "zero-shot")
    assert fitted.thresholds == CAUTIOUS
    assert (fitted.folds, len(fitted.estimate.scored), fitted.estimate.values) == ((), 0, {})
    found = answers(fitted, documents(200, seed=9))
    assert found.max() < fitted.thresholds.review
    assert prediction_sets(found, 0.0).all()


def test_one_label_a_class_teaches_no_thresholds() -> None:
    fitted = cold(documents(K))
    assert not fitted.thresholds.learnt
    assert len(fitted.folds) == len(fitted.estimate.scored) == K
    assert fitted.estimate.values["reviewed"] == 1
    assert fitted.estimate.values["coverage"] == 1


@pytest.mark.parametrize("a_class", [3, 20])
def test_a_few_labels_keep_the_promised_coverage(a_class: int) -> None:
    covered, honest = [], []
    for seed in range(3):
        fitted, fresh = cold(documents(a_class * K, seed=seed)), documents(1500, seed=seed + 50)
        assert fitted.thresholds.learnt
        found, kinds = answers(fitted, fresh), calibrate.evidence(fresh.blocks())
        sets = prediction_sets(found, floor_of(fitted.thresholds.floors, kinds))
        covered.append(sets[np.arange(len(fresh)), fresh.labels].mean())
        honest.append((found.argmax(axis=1) == fresh.labels).mean() - fitted.estimate.values["accuracy"])
    assert np.mean(covered) > 0.87
    # Each was judged without a document of its class that it has now: rather worse than it is.
    assert -0.04 < np.mean(honest) < 0.25


def test_labels_tell_what_zero_shot_is_worth() -> None:
    fitted = cold(documents(60, seed=3), "zero-shot")
    assert isinstance(fitted.run.head, NeighbourHead)
    assert fitted.run.head.kind == "zero-shot"
    assert fitted.thresholds.learnt
    alone = head_of(None, documents(400, seed=77))
    assert fitted.estimate.values["accuracy"] == pytest.approx(accuracy(alone, documents(60, seed=3)), abs=0.1)


@pytest.mark.parametrize("method", ["neighbours", "zero-shot"])
def test_a_model_of_references_always_has_the_text_read(method: str) -> None:
    fitted = cold(documents(400, seed=5), method)
    assert fitted.thresholds.learnt
    assert fitted.thresholds.cascade is None


def test_duplicates_are_held_out_together() -> None:
    data = documents(20).take(np.repeat(np.arange(20), 2))
    data = replace(data, groups=np.repeat(np.arange(20), 2))
    folds = hold_out_folds(data, CONFIG)
    assert len(folds) == 20
    for fold in folds:
        assert not set(data.groups[fold.train]) & set(data.groups[fold.test])
        assert len(fold.train) + len(fold.test) == 40
    assert len(hold_out_folds(documents(400), CONFIG)) == CONFIG.folds


def test_progress_ends_with_nothing_left() -> None:
    seen: list[tuple[int, int]] = []
    cold(documents(2 * K), progress=lambda *step: seen.append(step))
    assert seen[-1][1] == 0
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_prompts_are_embedded_and_described_as_documents_are() -> None:
    classes = [LabelClass("memo", "Memo", ("a memo", "memo")), LabelClass("letter", "Letter", ("a letter",))]
    describers = (WordLayout(), CharacterNgrams(), WordNgrams())
    processors = ProcessorSet(
        NothingInside(), LineRenderer(), WidthReader(), SameCleaner(), SmallEmbedder(), describers=describers
    )
    told = prompts_of(classes, processors, aligned=False)
    assert set(told.blocks) == {"text", "characters", "words"}
    assert {len(block.present) for block in told.blocks.values()} == {2}
    assert all(block.present.all() for block in told.blocks.values())
    both = prompts_of(classes, processors, aligned=True).blocks
    assert np.array_equal(np.asarray(both["image"].values), np.asarray(both["text"].values))

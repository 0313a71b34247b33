"""Wrong labels are ranked before right ones, each with what speaks against it."""

from __future__ import annotations

import numpy as np
import pytest

from dsdc.ml.heldout import HeldOut
from dsdc.ml.noise import suspicious

CLASSES = ("letter", "memo", "invoice", "resume", "form")


def answers(n: int, flipped: int, *, seed: int) -> tuple[HeldOut, set[str]]:
    """A model that is right about 85 % of documents; the labels of `flipped` of them are wrong, whose ids come too."""
    random = np.random.default_rng(seed)
    truth = np.arange(n) % len(CLASSES)
    logits = random.normal(size=(n, len(CLASSES)))
    logits[np.arange(n), truth] += random.gamma(4, 0.8, size=n)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    rows = random.choice(n, flipped, replace=False)
    labels = truth.copy()
    labels[rows] = (labels[rows] + random.integers(1, len(CLASSES), flipped)) % len(CLASSES)
    ids = tuple(f"d{row}" for row in range(n))
    return HeldOut(ids, CLASSES, labels, np.arange(n) % 5, probabilities), {f"d{row}" for row in rows}


@pytest.mark.parametrize("seed", range(5))
def test_most_flipped_labels_are_in_the_first_tenth(seed: int) -> None:
    held_out, flipped = answers(800, 40, seed=seed)
    assert 0.8 < (held_out.probabilities.argmax(axis=1) == np.arange(800) % 5).mean() < 0.95
    first = [doubt.document_id for doubt in suspicious(held_out)[:80]]
    assert len(flipped & set(first)) >= 32
    assert len(flipped & set(first[:20])) >= 15, "and most of what comes first is wrong"


def test_each_doubt_names_its_evidence() -> None:
    held_out, _ = answers(200, 10, seed=0)
    doubts = suspicious(held_out)
    given = [doubt.given_probability for doubt in doubts]
    assert given == sorted(given)
    assert 0 < sum(doubt.likely_error for doubt in doubts) < len(doubts)
    for doubt in doubts:
        row = held_out.document_ids.index(doubt.document_id)
        assert doubt.given == CLASSES[held_out.labels[row]] != doubt.suggested
        assert doubt.given_probability == held_out.probabilities[row, held_out.labels[row]]
        assert doubt.suggested_probability == held_out.probabilities[row].max() > doubt.given_probability
        assert doubt.fold == held_out.folds[row]


def test_a_model_that_agrees_with_every_label_doubts_none() -> None:
    labels = np.arange(10) % 5
    agreeing = HeldOut(tuple("abcdefghij"), CLASSES, labels, labels, np.eye(5)[labels] * 0.9 + 0.02)
    assert suspicious(agreeing) == []

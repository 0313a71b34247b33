"""The gate: worse is refused, better and equal pass, few documents decide nothing."""

from __future__ import annotations

import numpy as np
import pytest

from dsdc.ml.gate import LEAST_DOCUMENTS, compare, first

CLASSES = 4


def answers(labels: np.ndarray, right: int) -> np.ndarray:
    """Probabilities whose likeliest class is right for the first `right` documents and wrong for the others."""
    shown = labels.copy()
    shown[right:] = (shown[right:] + 1) % CLASSES
    return np.eye(CLASSES)[shown] * 0.9 + 0.025


@pytest.mark.parametrize(
    ("champion", "challenger", "promoted"), [(90, 60, False), (90, 89, True), (60, 90, True), (80, 80, True)]
)
def test_a_clearly_worse_challenger_is_refused(champion: int, challenger: int, promoted: bool) -> None:
    labels = np.arange(100) % CLASSES
    report = compare(answers(labels, champion), answers(labels, challenger), labels, seed=1)
    assert report.promote is promoted
    assert report.champion_accuracy == champion / 100
    assert report.challenger_accuracy == challenger / 100
    assert report.gain_low <= (challenger - champion) / 100 <= report.gain_high
    assert report.flips == abs(challenger - champion)
    assert f"{(challenger - champion) / 100:+.3f}" in report.reason


def test_a_few_documents_decide_nothing() -> None:
    labels = np.arange(LEAST_DOCUMENTS - 1) % CLASSES
    report = compare(answers(labels, len(labels)), answers(labels, 0), labels, seed=1)
    assert report.promote
    assert "too few" in report.reason


def test_the_first_model_serves() -> None:
    assert first("There was no champion.").promote

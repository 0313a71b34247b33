"""The gate: worse is refused, better and equal pass, and each document is asked about as if new to both models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from dsdc.ml.comparison import Champion, align
from dsdc.ml.gate import LEAST_DOCUMENTS, GateReport, compare, first
from dsdc.ml.heldout import HeldOut

CLASSES = ("letter", "memo", "invoice", "resume")


def held_out(
    labels: np.ndarray, wrong: Sequence[int] = (), *, sure: float = 0.9, classes: tuple[str, ...] = CLASSES
) -> HeldOut:
    """Answers that are right but for the rows `wrong`, each with the probability `sure`."""
    shown = labels.copy()
    shown[list(wrong)] = (shown[list(wrong)] + 1) % len(classes)
    rest = (1 - sure) / (len(classes) - 1)
    probabilities = np.eye(len(classes))[shown] * (sure - rest) + rest
    return HeldOut(
        tuple(f"d{row}" for row in range(len(labels))), classes, labels, np.arange(len(labels)) % 5, probabilities
    )


def judge(champion: HeldOut, challenger: HeldOut, groups: np.ndarray | None = None) -> GateReport:
    """Both have learnt from the same documents, and the champion knows them by heart today."""
    by_heart = held_out(champion.labels, sure=0.99, classes=champion.classes).probabilities
    groups = np.arange(len(challenger.labels)) if groups is None else groups
    return compare(challenger, Champion(champion.classes, by_heart, champion), groups=groups, seed=1)


def labels_of(n: int, classes: int = len(CLASSES)) -> np.ndarray:
    return np.arange(n) % classes


@pytest.mark.parametrize(
    ("champion", "challenger", "promoted", "said"),
    [
        (10, 40, False, "not by chance"),
        (40, 10, True, "better"),
        (20, 20, True, "no worse"),
        (10, 11, True, "no worse"),
    ],
)
def test_a_clearly_worse_challenger_is_refused(champion: int, challenger: int, promoted: bool, said: str) -> None:
    labels = labels_of(200)
    report = judge(held_out(labels, range(champion)), held_out(labels, range(challenger)))
    assert report.promote is promoted
    assert said in report.reason
    assert report.comparison is not None
    accuracy = report.comparison.accuracy
    assert (accuracy.champion, accuracy.challenger) == (1 - champion / 200, 1 - challenger / 200)
    assert accuracy.low <= accuracy.gain <= accuracy.high
    assert report.comparison.changed == abs(challenger - champion)
    assert f"{(champion - challenger) / 200:+.3f}" in report.reason


def test_a_loss_that_may_be_chance_is_refused_where_it_is_too_large() -> None:
    labels = labels_of(100)
    report = judge(held_out(labels, range(10)), held_out(labels, range(5, 18)))
    assert report.comparison is not None
    assert report.comparison.accuracy.high > 0
    assert not report.promote
    assert "loss of more than 0.020" in report.reason


def test_equal_answers_with_clearly_worse_probabilities_are_refused() -> None:
    labels = labels_of(200)
    honest, boastful = held_out(labels, range(40), sure=0.8), held_out(labels, range(40), sure=0.999)
    report = judge(honest, boastful)
    assert not report.promote
    assert "probabilities are clearly worse" in report.reason
    assert judge(boastful, honest).promote
    much_better = held_out(labels, range(2), sure=0.55)
    assert judge(honest, much_better).promote, "more accurate with confidence weighs more"


def test_a_few_documents_are_said_to_be_few() -> None:
    labels = labels_of(LEAST_DOCUMENTS - 1)
    worse = judge(held_out(labels), held_out(labels, [0]))
    assert not worse.promote
    assert "too few" in worse.reason
    same = judge(held_out(labels, [3]), held_out(labels, [0]))
    assert same.promote
    assert "too few" in same.reason


def test_a_copied_page_counts_once() -> None:
    """90 copies of one page that the challenger gets wrong are one observation, not 90."""
    labels = np.concatenate([labels_of(110), np.zeros(90, dtype=np.int64)])
    groups = np.minimum(np.arange(200), 110)
    champion, challenger = held_out(labels, range(0, 20)), held_out(labels, range(110, 200))
    alone, together = judge(champion, challenger), judge(champion, challenger, groups)
    assert alone.comparison is not None
    assert together.comparison is not None
    assert alone.comparison.accuracy.high < 0
    assert together.comparison.accuracy.high > 0
    assert together.comparison.groups == 111


def test_a_document_is_answered_held_out_where_it_was_learnt_from_and_live_where_it_is_new() -> None:
    labels = labels_of(60)
    challenger = held_out(labels)
    learnt = held_out(labels[:40], range(4))  # of documents d0 to d39
    live = held_out(labels, range(57, 60), sure=0.7).probabilities
    groups = np.arange(60)
    groups[50] = 5  # new, but a duplicate of d5
    found = align(challenger, Champion(CLASSES, live, learnt), groups)
    assert list(found.rows) == [row for row in range(60) if row != 50]
    right = found.both.champion.argmax(axis=1) == found.both.labels
    assert [int(found.rows[row]) for row in np.flatnonzero(~right)] == [0, 1, 2, 3, 57, 58, 59]
    assert np.allclose(found.both.champion[:40].max(axis=1), 0.9)
    assert np.allclose(found.both.champion[40:].max(axis=1), 0.7)
    report = compare(challenger, Champion(CLASSES, live, learnt), groups=groups, seed=1)
    assert (report.documents, report.unfair) == (59, 1)


def test_a_champion_that_has_learnt_from_nothing_is_asked_live() -> None:
    labels = labels_of(60)
    zero_shot = Champion(CLASSES, held_out(labels, range(30)).probabilities, None)
    report = compare(held_out(labels, range(10)), zero_shot, groups=np.arange(60), seed=1)
    assert report.promote
    assert report.comparison is not None
    assert report.comparison.accuracy.champion == 0.5


def test_a_champion_that_cannot_be_asked_any_more_is_judged_by_what_it_said() -> None:
    labels = labels_of(60)
    champion = Champion(CLASSES, None, held_out(labels[:40], range(4)))
    report = compare(held_out(labels, range(20)), champion, groups=np.arange(60), seed=1)
    assert (report.documents, report.unfair) == (40, 20)
    assert not report.promote
    report = compare(held_out(labels), replace(champion, learnt=None), groups=np.arange(60), seed=1)
    assert (report.promote, report.documents, report.unfair) == (True, 0, 60)


def test_a_new_class_is_a_gain_and_does_not_hide_worse_probabilities() -> None:
    known, every = CLASSES[:3], CLASSES
    labels = labels_of(200)
    live = held_out(np.minimum(labels, 2), classes=known, sure=0.8).probabilities
    champion = Champion(known, live, None)
    found = compare(held_out(labels, sure=0.8, classes=every), champion, groups=np.arange(200), seed=1)
    assert found.promote
    assert found.comparison is not None
    new = next(row for row in found.comparison.classes if row.label == "resume")
    assert np.isnan(new.champion)
    assert new.challenger == 1
    assert "| resume | 50 | not known | 1.000 |  |" in found.markdown()
    assert found.comparison.nll is not None
    assert abs(found.comparison.nll.gain) < 1e-9, "of the documents whose class both know"


def test_a_champions_class_that_is_gone_still_attracts_its_answers() -> None:
    """The champion says `advert`, which the challenger does not know: no other class inherits that answer."""
    labels = labels_of(40)
    before = (*CLASSES, "advert")
    live = held_out(np.full(40, 4), sure=0.6, classes=before).probabilities
    live[:, :4] += np.eye(4)[labels] * 0.1
    report = compare(held_out(labels), Champion(before, live, None), groups=np.arange(40), seed=1)
    assert report.comparison is not None
    assert report.comparison.accuracy.champion == 0
    assert report.comparison.flips[0].champion == "advert"


def test_the_report_tells_what_happened() -> None:
    labels = labels_of(200)
    challenger = held_out(labels, range(4, 14))
    report = compare(
        challenger,
        Champion(CLASSES, challenger.probabilities, held_out(labels, range(8))),
        groups=np.arange(200),
        sources=["human"] * 50 + ["import"] * 150,
        seed=1,
    )
    written = report.markdown()
    assert "**The challenger is promoted.**" in written
    assert "| letter | memo | letter | 1 | to right |" in written
    assert "| letter | letter | memo | 2 | to wrong |" in written
    assert "10 answers change: 4 to right, 6 to wrong" in written
    assert "| human | 50 | 0.840 | 0.800 | -0.040 |" in written
    assert "| import | 150 | 1.000 | 1.000 | +0.000 |" in written
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["flips"] == 10


def test_the_first_model_serves() -> None:
    report = first("There was no champion.")
    assert report.promote
    assert report.as_dict() == {"promote": True, "reason": "There was no champion.", "documents": 0, "unfair": 0}
    assert "There was no champion." in report.markdown()

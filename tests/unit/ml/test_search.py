"""The search: seeded, ends no worse than it began, gives up what is not worth it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dsdc.ml import search as module
from dsdc.ml.fit import Share
from dsdc.ml.search import SPACE, Found, Span, Trial, search
from dsdc.settings import Train
from tests.model.head.synthetic import clusters

#: A rate at which nothing is learnt in the steps there are: there is much to gain.
POOR = Train(epochs=20, hidden=64, members=3, folds=3, learning_rate=0.00001, dropout=0.6)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPACE", {**SPACE, "epochs": Span(10, 30, log=True), "hidden": Span(16, 64, log=True)})


@pytest.fixture(scope="module")
def found() -> Found:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SPACE", {**SPACE, "epochs": Span(10, 30, log=True), "hidden": Span(16, 64, log=True)})
        return search(clusters(120), POOR, trials=9)


def test_the_first_trial_is_what_there_was_and_the_best_is_better(found: Found) -> None:
    assert [trial.number for trial in found.trials] == list(range(9))
    assert found.trials[0].settings == {name: getattr(POOR, name) for name in SPACE}
    assert found.winner.value < found.trials[0].value - 0.1
    assert found.best.learning_rate > POOR.learning_rate


def test_only_what_is_searched_for_changes(found: Found) -> None:
    same = set(Train.model_fields) - set(SPACE)
    assert {name: getattr(found.best, name) for name in same} == {name: getattr(POOR, name) for name in same}
    assert all(trial.config.members == 1 for trial in found.trials)
    assert Train.model_validate(found.best.model_dump()) == found.best


def test_a_search_can_be_repeated(found: Found) -> None:
    again = search(clusters(120), POOR, trials=4)
    assert [t.settings for t in again.trials] == [t.settings for t in found.trials[:4]]
    assert [t.nll for t in again.trials] == [t.nll for t in found.trials[:4]]
    other = search(clusters(120), POOR.model_copy(update={"seed": 3}), trials=2)
    assert other.trials[1].settings != found.trials[1].settings


def test_a_bad_trial_is_given_up_and_never_wins(found: Found) -> None:
    assert any(trial.estimate is None for trial in found.trials)
    for trial in found.trials:
        whole = trial.estimate is not None
        assert (len(trial.nll) == POOR.folds) == whole
        assert math.isfinite(trial.value) == whole
    assert found.winner.estimate is not None


def test_each_trial_is_told_and_progress_ends() -> None:
    told: list[Trial] = []
    seen: list[tuple[int, int]] = []
    done = search(clusters(120), POOR, trials=2, told=Share(lambda *step: seen.append(step), 2), tell=told.append)
    assert tuple(told) == done.trials
    assert seen[-1][1] == 0
    assert [step[0] for step in seen] == sorted(step[0] for step in seen)


def test_the_value_is_what_all_held_out_documents_say(found: Found) -> None:
    winner = found.winner
    assert winner.estimate is not None
    assert len(winner.estimate.scored) == 120
    assert winner.value == winner.estimate.values["nll"]
    # In-sample weights on the last fold's sum are a little kinder than held-out ones.
    assert np.isclose(winner.nll[-1], winner.value, atol=0.15)


def test_a_setting_outside_the_space_widens_it() -> None:
    assert Span(0.1, 0.7).around(0.9) == Span(0.1, 0.9)
    odd = POOR.model_copy(update={"weight_decay": 0.0, "judge_c": 500.0})
    first = search(clusters(80), odd, trials=1).trials[0]
    assert (first.config.weight_decay, first.config.judge_c) == (0.0, 500.0)

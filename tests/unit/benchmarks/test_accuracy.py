"""The learning curve names what would serve, and goes as far as there are labels."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import BASELINES, _curve
from dsdc.ml.split import make_folds
from dsdc.settings import settings
from tests.unit.ml.test_neighbours import K, documents, prompts


@pytest.mark.usefixtures("project")
def test_the_curve_goes_from_neighbours_to_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSDC_TRAIN_MEMBERS", "1")
    here = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), os.environ.get("PYTHONPATH", "")]))
    data = documents(7 * K)
    data = replace(data, extra=dict.fromkeys(("words", "characters"), data.extra["words"]))
    fold = make_folds(data.labels, data.groups, folds=5, seed=0)[0]
    seen: list[tuple[int, int]] = []
    points = _curve(data, fold, prompts(), settings(), lambda *step: seen.append(step))
    most = int(np.bincount(data.labels[fold.train]).max())
    assert 5 <= most < 10
    assert [point["labels_a_class"] for point in points] == sorted({1, 2, 5, most})
    assert [point["method"] for point in points] == ["neighbours", "neighbours", "head", "head"][: len(points)]
    assert all(set(point) == {"labels_a_class", "method", "this platform", *BASELINES} for point in points)
    assert points[-1]["this platform"] > points[0]["this platform"] > 1 / K
    assert seen[-1] == (len(points), 0)

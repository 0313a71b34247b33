from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dsdc.ml.adapt.measure import Measures, contrastive_loss, measure, ranks

COSINES = torch.tensor(
    [
        [0.9, 0.1, 0.2],  # found first
        [0.5, 0.4, 0.3],  # found second
        [0.3, 0.2, 0.1],  # found last
    ]
)


def test_ranks_count_from_one_in_both_directions() -> None:
    assert ranks(COSINES).tolist() == [1, 2, 3]
    assert ranks(COSINES.T).tolist() == [1, 1, 3]


def test_a_model_that_sees_no_difference_finds_nothing() -> None:
    same = torch.nn.functional.normalize(torch.ones(20, 4), dim=-1)
    found = measure(same, same, torch.tensor(3.0))
    assert found.as_dict()["image_to_text_10"] == found.as_dict()["text_to_image_10"] == 0
    assert found.loss == pytest.approx(math.log(20), abs=1e-4)


def test_shares_and_reciprocal_rank_by_hand() -> None:
    found = Measures(1.0, np.array([1, 2, 10, 11]), np.array([1, 1, 4, 100])).as_dict()
    assert found["image_to_text_1"] == 0.25
    assert found["image_to_text_10"] == 0.75
    assert found["text_to_image_1"] == 0.5
    assert found["text_to_image_10"] == 0.75
    assert found["reciprocal_rank"] == pytest.approx((1 + 0.5 + 0.1 + 1 / 11 + 1 + 1 + 0.25 + 0.01) / 8, abs=1e-4)


def test_the_loss_is_clips() -> None:
    images, texts = torch.eye(2), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    scale = 2.0
    rows = [math.log(1 + math.exp(scale * (0.6 - 1.0))), math.log(1 + math.exp(scale * (0.0 - 0.8)))]
    columns = [math.log(1 + math.exp(scale * (0.0 - 1.0))), math.log(1 + math.exp(scale * (0.6 - 0.8)))]
    expected = (sum(rows) / 2 + sum(columns) / 2) / 2
    assert float(contrastive_loss(images, texts, torch.tensor(math.log(scale)))) == pytest.approx(expected, rel=1e-5)


def test_better_is_more_than_chance() -> None:
    random = np.random.default_rng(0)
    before = Measures(2.0, random.integers(1, 100, 100), random.integers(1, 100, 100))
    luck = Measures(1.0, random.permutation(before.text_ranks), random.permutation(before.image_ranks))
    good = Measures(3.0, np.maximum(1, before.text_ranks // 4), np.maximum(1, before.image_ranks // 4))
    assert good.better_than(before)
    assert not before.better_than(good)
    assert not before.better_than(before)
    assert not luck.better_than(before)
    assert not before.better_than(luck)

"""Splits that no duplicate crosses, and the finding of duplicates."""

from __future__ import annotations

import numpy as np
import pytest

from dsdc.errors import NotEnoughLabels
from dsdc.ml.split import Split, duplicate_groups, make_folds, make_split


def _shares(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.bincount(labels[rows], minlength=16) / np.bincount(labels, minlength=16)


def _crossing(split: Split, groups: np.ndarray) -> set[int]:
    found = [set(groups[rows].tolist()) for rows in split.parts().values()]
    return (found[0] & found[1]) | (found[0] & found[2]) | (found[1] & found[2])


@pytest.fixture
def crowded() -> tuple[np.ndarray, np.ndarray]:
    """1,600 documents of 16 classes, a third of them in groups of two to nine."""
    random = np.random.default_rng(1)
    labels = np.repeat(np.arange(16), 100)
    groups = np.arange(1600)
    for start in random.choice(1590, 90, replace=False):
        size = random.integers(2, 10)
        members = [row for row in range(start, start + size) if labels[row] == labels[start]]
        groups[members] = groups[start]
    return labels, groups


def test_parts_hold_every_row_once_and_no_group_crosses(crowded: tuple[np.ndarray, np.ndarray]) -> None:
    labels, groups = crowded
    split = make_split(labels, groups, valid_share=0.15, test_share=0.15, seed=3)
    assert sorted(np.concatenate(list(split.parts().values()))) == list(range(1600))
    assert not _crossing(split, groups)
    assert np.abs(_shares(labels, split.test) - 0.15).max() <= 0.02
    assert np.abs(_shares(labels, split.valid) - 0.15).max() <= 0.02


def test_same_seed_same_split_other_seed_another(crowded: tuple[np.ndarray, np.ndarray]) -> None:
    labels, groups = crowded
    one, two, other = (make_split(labels, groups, valid_share=0.15, test_share=0.15, seed=s) for s in (3, 3, 4))
    assert np.array_equal(one.test, two.test)
    assert not np.array_equal(one.test, other.test)


def test_four_documents_of_a_class_reach_all_three_parts() -> None:
    labels = np.array([0] * 40 + [1] * 4)
    split = make_split(labels, np.arange(44), valid_share=0.15, test_share=0.15, seed=0)
    assert [(labels[rows] == 1).sum() for rows in split.parts().values()] == [2, 1, 1]


def test_a_class_of_one_group_is_trained_on_and_nowhere_else() -> None:
    labels = np.array([0] * 40 + [1] * 4)
    groups = np.array([*range(40), 99, 99, 99, 99])
    split = make_split(labels, groups, valid_share=0.15, test_share=0.15, seed=0)
    assert [(labels[rows] == 1).sum() for rows in split.parts().values()] == [4, 0, 0]


def test_nothing_to_test_on_is_said_so() -> None:
    with pytest.raises(NotEnoughLabels, match="1 groups leave the valid part empty"):
        make_split(np.zeros(5, dtype=int), np.zeros(5, dtype=int), valid_share=0.2, test_share=0.2, seed=0)


def test_folds_test_each_row_once_and_keep_groups(crowded: tuple[np.ndarray, np.ndarray]) -> None:
    labels, groups = crowded
    folds = make_folds(labels, groups, folds=5, valid_share=0.15, seed=0)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(1600))
    assert not any(_crossing(fold, groups) for fold in folds)
    assert all(np.abs(_shares(labels, fold.test) - 0.2).max() <= 0.06 for fold in folds)
    with pytest.raises(NotEnoughLabels):
        make_folds(labels[:3], groups[:3], folds=5, valid_share=0.2, seed=0)


def test_equal_hashes_are_one_group() -> None:
    assert duplicate_groups(sha256=["a", "b", "a", "c"]).tolist() == [0, 1, 0, 2]


def test_perceptual_hashes_within_the_distance_are_one_group_signed_or_not() -> None:
    base = 0xF0F0_F0F0_0F0F_0F0F
    hashes = [base, base ^ 0b11, base ^ 0b111, base - 2**64, None]
    groups = duplicate_groups(perceptual=hashes, max_hamming=1)
    assert groups[1] == groups[2] != groups[0]
    assert groups[0] == groups[3]
    assert len(set(groups.tolist())) == 3


def test_blank_pages_are_not_each_others_duplicates() -> None:
    assert len(set(duplicate_groups(perceptual=[0, 0, 1, 2**64 - 1]).tolist())) == 4


def test_vectors_chain_through_a_middle_one_and_zero_rows_stay_alone() -> None:
    angles = np.deg2rad([0, 4, 8, 90])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) * 3
    vectors = np.concatenate([vectors, np.zeros((2, 2), dtype=np.float32)])
    groups = duplicate_groups(embeddings=vectors, min_cosine=float(np.cos(np.deg2rad(5))))
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups.tolist())) == 4


def test_evidences_join_groups_across_each_other_and_across_blocks() -> None:
    n = 1500
    groups = duplicate_groups(
        sha256=["same" if row in (0, n - 1) else str(row) for row in range(n)],
        perceptual=[0x0F0F_0F0F_F0F0_F0F0 if row in (n - 1, 700) else None for row in range(n)],
    )
    assert groups[0] == groups[700] == groups[n - 1]
    assert len(set(groups.tolist())) == n - 2


def test_columns_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        duplicate_groups(sha256=["a"], perceptual=[1, 2])

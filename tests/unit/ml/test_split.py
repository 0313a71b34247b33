"""Folds that no duplicate crosses, and the finding of duplicates."""

from __future__ import annotations

import numpy as np
import pytest

from dsdc.errors import NotEnoughLabels
from dsdc.ml.split import duplicate_groups, make_folds


def _shares(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return np.bincount(labels[rows], minlength=16) / np.bincount(labels, minlength=16)


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


def test_folds_hold_out_each_row_once_and_keep_groups(crowded: tuple[np.ndarray, np.ndarray]) -> None:
    labels, groups = crowded
    folds = make_folds(labels, groups, folds=5, seed=0)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(1600))
    for fold in folds:
        assert not set(groups[fold.train]) & set(groups[fold.test])
        assert len(fold.train) + len(fold.test) == 1600
        assert np.abs(_shares(labels, fold.test) - 0.2).max() <= 0.06


def test_same_seed_same_folds_other_seed_others(crowded: tuple[np.ndarray, np.ndarray]) -> None:
    labels, groups = crowded
    one, two, other = (make_folds(labels, groups, folds=5, seed=seed)[0].test for seed in (3, 3, 4))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_class_of_one_group_is_held_out_once_and_no_warning_is_shown(recwarn: pytest.WarningsRecorder) -> None:
    labels = np.array([0] * 40 + [1] * 4)
    groups = np.array([*range(40), 99, 99, 99, 99])
    folds = make_folds(labels, groups, folds=5, seed=0)
    assert sorted((labels[fold.test] == 1).sum() for fold in folds) == [0, 0, 0, 0, 4]
    assert not recwarn.list


def test_fewer_documents_than_folds_is_said_so() -> None:
    with pytest.raises(NotEnoughLabels, match="3 different labelled documents cannot make 5 folds"):
        make_folds(np.array([0, 0, 1]), np.arange(3), folds=5, seed=0)


def test_many_classes_of_a_few_documents_each_are_dealt_out() -> None:
    labels, groups = np.repeat(np.arange(40), 3), np.arange(120) // 2
    folds = make_folds(labels, groups, folds=5, seed=0)
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(120))
    assert {len(fold.test) for fold in folds} == {24}
    assert not any(set(groups[fold.test]) & set(groups[fold.train]) for fold in folds)
    again = make_folds(labels, groups, folds=5, seed=0)
    assert all(np.array_equal(one.test, two.test) for one, two in zip(folds, again, strict=True))


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

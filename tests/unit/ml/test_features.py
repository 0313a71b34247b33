"""Pooling of pages and the checks of a DocumentSet."""

from __future__ import annotations

import numpy as np
import pytest

from dsdc.ml.features import Block, pool_pages
from tests.model.head.synthetic import clusters


def test_pages_count_alike_whatever_their_length() -> None:
    pages = np.array([[10.0, 0.0], [0.0, 0.1]], dtype=np.float32)
    pooled = pool_pages([pages])
    assert pooled.values[0] == pytest.approx([2**-0.5, 2**-0.5])
    assert pooled.values.dtype == np.float32


def test_a_document_without_pages_is_missing_and_zero() -> None:
    none = np.zeros((0, 3), dtype=np.float32)
    zero = np.zeros((1, 3), dtype=np.float32)
    pooled = pool_pages([none, np.ones((2, 3), dtype=np.float32), zero])
    assert pooled.present.tolist() == [False, True, False]
    assert not pooled.values[[0, 2]].any()
    assert pool_pages([none], width=7).values.shape == (1, 7)


def test_opposite_pages_have_no_direction() -> None:
    assert not pool_pages([np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32)]).present[0]


def test_vectors_of_two_models_are_refused() -> None:
    with pytest.raises(ValueError, match="two models"):
        pool_pages([np.ones((1, 3), dtype=np.float32), np.ones((1, 4), dtype=np.float32)])
    with pytest.raises(ValueError, match="width has to be given"):
        pool_pages([np.zeros((0, 3), dtype=np.float32)])


def test_a_set_refuses_rows_that_do_not_match_labels_out_of_range_and_nan() -> None:
    data = clusters(12)
    with pytest.raises(ValueError, match="12 documents"):
        type(data)(**{**vars(data), "labels": data.labels[:-1]})
    with pytest.raises(ValueError, match="labels must be"):
        type(data)(**{**vars(data), "labels": data.labels + 9})
    broken = data.image.copy()
    broken[0, 0] = np.nan
    with pytest.raises(ValueError, match="image must be finite"):
        type(data)(**{**vars(data), "image": broken})


def test_taking_rows_keeps_every_column_together() -> None:
    data = clusters(12)
    extra = {"layout": Block(np.arange(12, dtype=np.float32)[:, None], np.ones(12, dtype=bool))}
    taken = type(data)(**{**vars(data), "extra": extra}).take(np.array([5, 2]))
    assert taken.document_ids == ("document-5", "document-2")
    assert taken.labels.tolist() == data.labels[[5, 2]].tolist()
    assert taken.blocks()["layout"].values[:, 0].tolist() == [5, 2]
    assert list(taken.blocks()) == ["image", "text", "layout"]

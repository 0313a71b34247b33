"""Which labels make which model."""

from __future__ import annotations

import pytest

from dsdc.ml.method import HEAD_FROM, choose_method

SLUGS = tuple("abcdefgh")


@pytest.mark.parametrize(
    ("counts", "method"),
    [
        ((0,) * 8, "zero-shot"),
        ((1,) * 8, "neighbours"),
        ((1, 0, 0, 0, 0, 0, 0, 0), "neighbours"),
        ((HEAD_FROM - 1,) * 8, "neighbours"),
        ((HEAD_FROM,) * 8, "head"),
        # A class that was added later waits for its documents, the others are not thrown back for it.
        ((100,) * 7 + (0,), "head"),
        ((100,) * 7 + (1,), "head"),
        # A head would forget most of these classes.
        ((100,) * 2 + (1,) * 6, "neighbours"),
        # One class is no choice.
        ((100, 0, 0, 0, 0, 0, 0, 0), "neighbours"),
        ((24, 24, 24, 0, 0, 0, 0, 0), "head"),
    ],
)
def test_the_number_of_labels_a_class_decides(counts: tuple[int, ...], method: str) -> None:
    choice = choose_method(dict(zip(SLUGS, counts, strict=True)), min_per_class=4)
    assert choice.method == method
    assert choice.reason.endswith(".")


def test_the_reason_gives_the_numbers() -> None:
    reason = choose_method({"a": 3, "b": 2, "c": 0}, min_per_class=4).reason
    assert "5 different documents of 2 of 3 classes" in reason
    assert f"from {HEAD_FROM} a class" in reason

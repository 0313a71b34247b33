"""Which version a rollback goes back to, by the moves on record."""

from __future__ import annotations

import pytest

from dsdc.ml.registry import predecessor


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        ("", None),
        ("1", None),
        ("1 2 3", 2),
        ("1 2 3 <2", 1),
        ("1 2 3 <2 <1", None),
        ("1 2 3 <2 4", 2),  # not 3, which was left
        ("1 2 3 <2 4 <2", 1),
        ("1 2 3 <2 3", 2),  # 3 was promoted again, by somebody's decision
        ("1 2 2", 1),
        ("1 2 1", 2),
        ("1 2 1 <2", None),
        ("1 2 <1 2 <1", None),
        ("<1 2", 1),  # somebody gave this as the reason of a promotion
    ],
)
def test_the_version_before(moves: str, expected: int | None) -> None:
    """`<2`: a rollback to version 2."""
    told = [(int(move.strip("<")), "rollback" if move.startswith("<") else "trained") for move in moves.split()]
    assert predecessor(told) == expected

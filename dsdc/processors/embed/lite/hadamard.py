"""An orthonormal map drawn from a seed that comes out with the same bits on every machine: its numbers are signs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SEED = 20260101


def orthonormal(rows: int, columns: int, seed: int = SEED) -> npt.NDArray[np.float32]:
    """`[rows, columns]` with orthonormal columns: some of a Hadamard matrix's, the signs of its rows drawn.

    It keeps lengths and angles, and spreads each input over all outputs. `rows` is a power of 4, so that the common
    size of all numbers, `1 / sqrt(rows)`, is a power of 2.
    """
    # Raw numbers of the generator alone: NumPy promises them for all versions, but not what it derives from them.
    drawn = np.random.PCG64(seed).random_raw(2 * rows)
    signs = 1 - 2 * (drawn[:rows] >> np.uint64(63)).astype(np.int8)
    chosen = np.argsort(drawn[rows:], kind="stable")[:columns]
    matrix = signs[:, None] * _sylvester(rows)[:, chosen]
    return np.ascontiguousarray(matrix, dtype=np.float32) / np.float32(np.sqrt(rows))


def _sylvester(size: int) -> npt.NDArray[np.int8]:
    matrix = np.ones((1, 1), np.int8)
    while len(matrix) < size:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    return matrix

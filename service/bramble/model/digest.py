"""A hidden state's digest: eight numbers that show whether two machines computed the same.

The norm says that the size is right; projections onto fixed random signs, that the direction is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bramble.model.manifest import DIGEST_SIZE

Numbers = NDArray[np.float32] | Sequence[float]


def digest(hidden: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reduce one token's hidden state, float32 (hidden_size,), to float32 (DIGEST_SIZE,).

    Each projection's spread is the norm itself, so a relative error of the hidden state shows as
    about the same error of every entry relative to the first.
    """
    row = hidden.astype(np.float64)
    norm = np.sqrt(row @ row)
    return np.concatenate([[norm], signs(len(row)) @ row]).astype(np.float32)


def error(got: Numbers, expected: Numbers) -> float:
    """The largest difference relative to the expected norm; infinite where a number is not."""
    left, right = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    if left.shape != right.shape or not np.isfinite(left).all():
        return float("inf")
    return float(np.abs(left - right).max() / max(right[0], np.finfo(np.float32).tiny))


def signs(size: int) -> NDArray[np.float64]:
    """Fixed ±1 (DIGEST_SIZE - 1, size): bit k of splitmix64 of the index, the same everywhere."""
    z = (np.arange(1, size + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    bits = np.arange(DIGEST_SIZE - 1, dtype=np.uint64)[:, None]
    return 1.0 - 2.0 * ((z >> bits) & np.uint64(1)).astype(np.float64)

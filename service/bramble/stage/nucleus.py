"""The top-p cut, compiled by numba: what numpy takes a sort of the vocabulary for.

A histogram over the leading bits of each weight finds the bucket that the cut falls into, and only
that bucket is sorted. It knows weights and nothing of sampling settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

BUCKETS = 4096  # the sign, the exponent and three bits of the fraction of a float32
SHIFT = 20
SIGNATURE = "i8[::1](f4[::1], f8)"
FAST = {"reassoc", "nsz"}  # lets the sum run in vector registers


def _compile(function: Callable[..., Any]) -> Any:
    """Compile once and for all where a folder for it can be written, else in every process."""
    try:
        return numba.njit(SIGNATURE, cache=True, fastmath=FAST)(function)
    except RuntimeError:  # no folder to keep it in
        return numba.njit(SIGNATURE, fastmath=FAST)(function)


@_compile
def nucleus(weights: NDArray[np.float32], top_p: float) -> NDArray[np.int64]:
    """Return the indices, rising, of the fewest largest weights that hold `top_p` of the sum.

    weights    float32 (vocab_size,), 0 to 1 relative to the largest; equal ones go by index
    top_p      0 to 1; one index at least is returned
    """
    total = 0.0
    for weight in weights:
        total += weight
    # All weights below this together are less than 1 - top_p: they cannot be in the nucleus
    floor = min((1.0 - top_p) * total / len(weights), 1.0)
    kept = np.empty(len(weights) + 1, np.int64)
    count = 0
    for i in range(len(weights)):  # written without a branch: the next overwrites what is out
        kept[count] = i
        count += weights[i] >= floor
    bits = weights.view(np.uint32)
    sums = np.zeros(BUCKETS, np.float64)
    for i in kept[:count]:
        sums[bits[i] >> SHIFT] += weights[i]
    target, above, bucket = top_p * total, 0.0, BUCKETS - 1
    while bucket > 0 and (above + sums[bucket] < target or above + sums[bucket] == 0.0):
        above += sums[bucket]
        bucket -= 1
    edge = np.empty(count + 1, np.float32)
    num_edge = num_kept = 0
    for i in kept[:count]:
        edge[num_edge] = weights[i]
        num_edge += bits[i] >> SHIFT == bucket
        kept[num_kept] = i
        num_kept += bits[i] >> SHIFT >= bucket
    if num_edge == 0:  # top_p of 1, but for rounding
        return kept[:num_kept]
    edge[:num_edge].sort()
    first = num_edge
    while first == num_edge or (first > 0 and above < target):
        first -= 1
        above += edge[first]
    smallest, ties = edge[first], 1
    while first + ties < num_edge and edge[first + ties] == smallest:
        ties += 1
    count = 0
    for i in kept[:num_kept]:
        kept[count] = i
        is_tie = weights[i] == smallest
        count += (is_tie and ties > 0) or weights[i] > smallest
        ties -= is_tie
    return kept[:count]

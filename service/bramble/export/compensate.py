"""Rounding a matrix so that each weight makes up for the errors of those before it.

Frantar et al., GPTQ (arXiv 2210.17323), within chunks of inputs and without any order of its own:
what rounding one weight changes in the outputs, over inputs that were seen, is taken off the
weights that are still to be rounded. Format and blocks are those of quantize.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bramble.export.quantize import (
    BITS,
    BLOCK,
    INT4_DIVISORS,
    RANGE_SHARES,
    WITH_ZEROS,
    Quantized,
    pack,
)

CHUNK = 512  # inputs whose errors are made up for together; a multiple of every block
# How much less than seen inputs are taken to move together: a short text shows more of it than is
DAMPING = 0.3

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is known of a matrix's inputs, for each CHUNK of them (the last may be shorter).

    importance    float32 (chunk,) the mean square of each
    shares        float32 (chunk, chunk), zeros but above the diagonal: how much of an error in
                  input i the weight of input j > i takes on
    """

    importance: tuple[Floats, ...]
    shares: tuple[Floats, ...]


def inputs(seen: Floats) -> Inputs:
    """Learn from inputs that were seen, float32 (tokens, k)."""
    chunks = [seen[:, start : start + CHUNK] for start in range(0, seen.shape[1], CHUNK)]
    found = [_learn(chunk) for chunk in chunks]
    return Inputs(tuple(each[0] for each in found), tuple(each[1] for each in found))


def can_compensate(kind: str) -> bool:
    """Finer kinds have no errors worth it."""
    return BITS.get(kind) == 4


def quantize(rows: Floats, kind: str, known: Inputs) -> Quantized:
    """As quantize.quantize, for a kind that can_compensate."""
    block, has_zeros = BLOCK[kind], kind in WITH_ZEROS
    n, k = rows.shape
    codes = np.empty((n, k), np.uint8)
    scales = np.empty((n, k // block), np.float32)
    zeros = np.empty((n, k // block), np.uint8)
    tried = np.array(RANGE_SHARES if has_zeros else INT4_DIVISORS, np.float32)
    workers = os.cpu_count() or 1
    parts = [(i * n // workers, (i + 1) * n // workers) for i in range(workers)]
    chunks = zip(range(0, k, CHUNK), known.importance, known.shares, strict=True)
    with ThreadPoolExecutor(workers) as pool:
        for start, importance, shares in chunks:
            rest = rows[:, start : start + CHUNK].copy()
            for first in range(0, len(importance), block):
                here, there = slice(first, first + block), slice(first + block, None)
                at, number = start + first, (start + first) // block
                now = np.ascontiguousarray(rest[:, here])
                among = np.ascontiguousarray(shares[here, here])
                round_block = partial(
                    _kernel(), now, importance[here], among, tried, has_zeros,
                    codes[:, at : at + block], scales[:, number], zeros[:, number],
                )  # fmt: skip
                list(pool.map(round_block, parts))
                rest[:, there] -= now @ shares[here, there]
    return pack(codes.reshape(n, -1, block), scales, zeros if has_zeros else None)


def _learn(seen: Floats) -> tuple[Floats, Floats]:
    """Return importance and shares of a chunk, of which seen is float32 (tokens, chunk)."""
    moments = (seen.T @ seen / len(seen)).astype(np.float64)
    importance = np.diag(moments).copy()
    importance += 1e-4 * importance.mean() or 1.0  # an input that was never seen is not nothing
    sizes = np.sqrt(importance)
    together = moments / np.outer(sizes, sizes)
    np.fill_diagonal(together, 0)
    # Of inputs with nothing in common so many tokens would show 1 / tokens
    shown, by_chance = np.sum(together**2), len(sizes) * (len(sizes) - 1) / len(seen)
    together *= max(0.0, 1 - by_chance / shown) / (1 + DAMPING) if shown else 0.0
    np.fill_diagonal(together, 1)
    upper = np.linalg.cholesky(np.linalg.inv(together)).T / sizes
    shares = np.triu(upper / np.diag(upper)[:, None], 1)
    return importance.astype(np.float32), np.ascontiguousarray(shares, np.float32)


@cache
def _kernel() -> Callable[..., None]:
    """Compiled once where a folder for it can be written; numba takes 0.3 s to import."""
    import numba

    try:
        return _compiled(numba, cache=True)
    except RuntimeError:  # no folder to keep it in
        return _compiled(numba, cache=False)


def _compiled(numba: Any, cache: bool) -> Callable[..., None]:
    made: Callable[..., None] = numba.njit(nogil=True, cache=cache, fastmath=True)(_round_block)
    return made


def _round_block(
    rows: Floats,
    importance: Floats,
    shares: Floats,
    tried: Floats,
    has_zeros: bool,
    codes: NDArray[np.uint8],
    scales: Floats,
    zeros: NDArray[np.uint8],
    part: tuple[int, int],
) -> None:
    """Round rows [part) of one block (n, block) to codes (n, block), a scale and a zero point each.

    What was a weight is then its error, which the weights behind the block have to make up for.
    """
    block = rows.shape[1]
    row = np.empty(block, np.float32)
    for r in range(part[0], part[1]):
        for i in range(block):
            row[i] = rows[r, i]
        low, high = np.float32(0.0), np.float32(0.0)
        for i in range(block):
            low, high = min(low, row[i]), max(high, row[i])
        scale, zero, least = np.float32(0.0), np.float32(8.0), np.float32(0.0)
        for one in tried:
            offset = np.float32(8.0)
            if has_zeros:
                inverse = np.float32(15.0) / (high - low) if high > low else np.float32(0.0)
                offset = np.rint(-low * inverse)
                inverse /= one
            else:
                extreme = high if high > -low else low
                inverse = one / extreme if extreme != 0.0 else np.float32(0.0)
            products, squares = np.float32(0.0), np.float32(0.0)
            for i in range(block):
                level = min(max(np.rint(row[i] * inverse), -offset), np.float32(15.0) - offset)
                products += importance[i] * level * row[i]
                squares += importance[i] * level * level
            if squares > 0.0 and -products * products / squares < least:
                least = -products * products / squares
                scale, zero = products / squares, offset
        scales[r], zeros[r] = scale, np.uint8(zero)
        inverse = np.float32(1.0) / scale if scale != 0.0 else np.float32(0.0)
        for i in range(block):
            level = min(max(np.rint(row[i] * inverse), -zero), np.float32(15.0) - zero)
            codes[r, i] = np.uint8(level + zero)
            error = np.float32(row[i] - level * scale)
            rows[r, i] = error
            for j in range(block):  # from the first: a fixed length runs in vector registers
                row[j] -= error * shares[i, j]

"""Blocks of 32 values as 8-bit integers with a scale each, compiled by numba.

A scale is the upper half of a float32 (8 bits of fraction), rounded up, so that a value times its
scale is exact in float32: the sum has the same bits on every processor. A block with a value that
is not finite is all NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

WIDTH = 32
MAGNITUDE = np.int32(0x7FFF_FFFF)
INFINITY = 0x7F80_0000
TINY = 0x1000_0000  # 2.5e-29: a block of smaller values counts as zero
NOT_A_NUMBER = 0x7FC0
ROUND = np.float32(12_582_912.0)  # 1.5 * 2^23: added and taken off, it rounds half to even
MOST = np.float32(127.0)
ONE = np.float32(1.0)


def _compile(signature: str) -> Callable[[Callable[..., Any]], Any]:
    """Compile once and for all where a folder for it can be written, else in every process."""

    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(signature, cache=True)(function)
        except RuntimeError:  # no folder to keep it in
            return numba.njit(signature)(function)

    return compiled


@_compile("void(f4[::1], u1[::1])")
def pack(values: NDArray[np.float32], packed: NDArray[np.uint8]) -> None:
    """Round blocks to 8 bits; inner loops of constant length become vector instructions.

    values    float32 (blocks * 32,)
    packed    uint8 (blocks * 34,), written: all scales, then all values
    """
    num_blocks = len(values) // WIDTH
    scales = packed[: 2 * num_blocks].view(np.uint16)
    small = packed[2 * num_blocks :].view(np.int8).reshape(num_blocks, WIDTH)
    blocks = values.reshape(num_blocks, WIDTH)
    bits = blocks.view(np.int32)
    word = np.empty(1, np.uint32)
    real = word.view(np.float32)
    for block in range(num_blocks):
        value, magnitude, to = blocks[block], bits[block], small[block]
        largest = np.int32(0)
        for i in range(WIDTH):
            this = np.int32(magnitude[i] & MAGNITUDE)
            if this > largest:
                largest = this
        if largest < TINY or largest >= INFINITY:
            scales[block] = NOT_A_NUMBER if largest >= INFINITY else 0
            for i in range(WIDTH):
                to[i] = 0
            continue
        word[0] = largest
        real[0] = real[0] / MOST
        upper = (np.int64(word[0]) + 0xFFFF) >> 16
        scales[block] = upper
        word[0] = upper << 16
        inverse = ONE / real[0]
        for i in range(WIDTH):
            to[i] = np.int8(np.int32((value[i] * inverse + ROUND) - ROUND))


@_compile("void(u1[::1], b1, f4[::1])")
def add(packed: NDArray[np.uint8], is_first: bool, total: NDArray[np.float32]) -> None:
    """Add packed blocks to `total`, float32 (blocks * 32,), or overwrite it if `is_first`."""
    num_blocks = len(total) // WIDTH
    scales = packed[: 2 * num_blocks].view(np.uint16)
    small = packed[2 * num_blocks :].view(np.int8).reshape(num_blocks, WIDTH)
    totals = total.reshape(num_blocks, WIDTH)
    word = np.empty(1, np.uint32)
    real = word.view(np.float32)
    for block in range(num_blocks):
        value, into = small[block], totals[block]
        word[0] = np.uint32(scales[block]) << np.uint32(16)
        scale = real[0]
        if is_first:
            for i in range(WIDTH):
                into[i] = scale * np.float32(value[i])
        else:
            for i in range(WIDTH):
                into[i] += scale * np.float32(value[i])

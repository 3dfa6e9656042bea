"""Weights to blocks of small integers and back, in the byte layout of onnxruntime's kernels.

Symmetric, 32 weights along the input share a float32 scale; stored unsigned, so that the zero
point is the kernels' default: 8 for int4 (low nibble first), 128 for int8.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 32
BITS = {"int4": 4, "int8": 8}
KINDS = ("int4", "int8", "float32")

# int4: the block's largest weight, with its sign, is put at -8 times the scale, as llama.cpp's
# Q4_0 does; slightly smaller scales clip it and round the other 31 better.
INT4_DIVISORS = (-8.0, -8.6)

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


def quantize(rows: Floats, kind: str) -> tuple[Bytes, Floats]:
    """Quantise float32 (n, k), k a multiple of 32, to `kind` int4 or int8.

    returns    uint8 (n, k / 32, 32 * bits / 8) and scales float32 (n, k / 32)
    """
    blocks = rows.reshape(rows.shape[0], -1, BLOCK)
    return _int4(blocks) if kind == "int4" else _int8(blocks)


def dequantize(data: Bytes, scales: Floats, kind: str) -> Floats:
    """Turn what `quantize` made back into float32 (n, k)."""
    if kind == "int4":
        levels = np.stack([data & 15, data >> 4], axis=-1).reshape(*data.shape[:2], BLOCK)
    else:
        levels = data
    zero = np.float32(1 << (BITS[kind] - 1))
    values = (levels.astype(np.float32) - zero) * scales[:, :, None]
    return np.asarray(values.reshape(data.shape[0], -1), np.float32)


def _int8(blocks: Floats) -> tuple[Bytes, Floats]:
    scales = np.abs(blocks).max(axis=-1) / np.float32(127)
    levels = np.rint(blocks * _inverse(scales)[:, :, None])
    return (levels + 128).astype(np.uint8), scales


def _int4(blocks: Floats) -> tuple[Bytes, Floats]:
    largest, smallest = blocks.max(axis=-1), blocks.min(axis=-1)
    extreme: Floats = np.where(largest > -smallest, largest, smallest)
    best = _int4_levels(blocks, INT4_DIVISORS[0], extreme)
    for divisor in INT4_DIVISORS[1:]:
        other = _int4_levels(blocks, divisor, extreme)
        is_better = other[2] < best[2]
        best = (
            np.where(is_better[:, :, None], other[0], best[0]),
            np.where(is_better, other[1], best[1]),
            np.where(is_better, other[2], best[2]),
        )
    levels, scales, _ = best
    codes = (levels + 8).astype(np.uint8)
    packed: Bytes = codes[:, :, 0::2] | (codes[:, :, 1::2] << np.uint8(4))
    return packed, scales


def _int4_levels(blocks: Floats, divisor: float, extreme: Floats) -> tuple[Floats, Floats, Floats]:
    """Round to -8 … 7 times extreme / divisor, then fit the scale by least squares.

    returns    levels float32 (n, b, 32), scales and squared errors float32 (n, b)
    """
    levels = blocks * (np.float32(divisor) * _inverse(extreme))[:, :, None]
    np.rint(levels, out=levels)
    np.clip(levels, -8, 7, out=levels)
    products = np.einsum("nbi,nbi->nb", levels, blocks)
    squares = np.einsum("nbi,nbi->nb", levels, levels)
    scales = products / np.maximum(squares, np.float32(1))
    # sum((w - s*l)^2) = sum(w^2) - products^2 / squares at the fitted s; sum(w^2) is common
    return levels, scales, -products * scales


def _inverse(scales: Floats) -> Floats:
    """1 / scales, and 0 where a block is all zeros."""
    return np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)

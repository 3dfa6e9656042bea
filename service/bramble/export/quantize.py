"""Weights to blocks of small integers and back, in the byte layout of onnxruntime's kernels.

Along the input, a block of weights shares a float32 scale; stored unsigned. All kinds but int4-128
are symmetric: their zero point is the kernels' default, 8 or 128. int4-128 has a zero point of its
own for each block. Two int4 codes share a byte, low nibble first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

BITS = {"int4": 4, "int4-64": 4, "int4-128-symmetric": 4, "int4-128": 4, "int8": 8}
# Weights that share a scale
BLOCK = {"int4": 32, "int4-64": 64, "int4-128-symmetric": 128, "int4-128": 128, "int8": 32}
WITH_ZEROS = ("int4-128",)
KINDS = (*BITS, "float32")

# Symmetric int4: the block's largest weight, with its sign, is put at -8 times the scale, as
# llama.cpp's Q4_0 does; slightly smaller scales clip it and round the others better.
INT4_DIVISORS = (-8.0, -8.6)

# int4-128: the shares of a block's range that its 16 levels span; what lies outside is clipped
RANGE_SHARES = (1.0, 0.93, 0.86, 0.79)

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quantized:
    """A matrix (n, k) in k / block blocks per row."""

    codes: Bytes  # (n, blocks, block * bits / 8)
    scales: Floats  # (n, blocks)
    zeros: Bytes | None  # (n, ceil(blocks * bits / 8)); None where it is the kernels' default


def quantize(rows: Floats, kind: str) -> Quantized:
    """Quantise float32 (n, k), k a multiple of BLOCK[kind]."""
    blocks = rows.reshape(rows.shape[0], -1, BLOCK[kind])
    if kind == "int8":
        return _int8(blocks)
    return _int4_with_zeros(blocks) if kind in WITH_ZEROS else _int4(blocks)


def pack(codes: Bytes, scales: Floats, zeros: Bytes | None) -> Quantized:
    """Put int4 codes uint8 (n, blocks, block), and zero points (n, blocks), two into a byte."""
    return Quantized(pairs(codes), scales, None if zeros is None else pairs(zeros))


def dequantize(quantized: Quantized, kind: str) -> Floats:
    """Turn what `quantize` made back into float32 (n, k)."""
    codes, scales = quantized.codes, quantized.scales
    levels = nibbles(codes) if BITS[kind] == 4 else codes
    zeros = np.full(scales.shape, 1 << (BITS[kind] - 1), np.float32)
    if quantized.zeros is not None:
        zeros = nibbles(quantized.zeros)[:, : scales.shape[1]].astype(np.float32)
    values = (levels.astype(np.float32) - zeros[:, :, None]) * scales[:, :, None]
    return np.asarray(values.reshape(len(codes), -1), np.float32)


def _int8(blocks: Floats) -> Quantized:
    scales = np.abs(blocks).max(axis=-1) / np.float32(127)
    levels = np.rint(blocks * _inverse(scales)[:, :, None])
    return Quantized((levels + 128).astype(np.uint8), scales, None)


def _int4(blocks: Floats) -> Quantized:
    largest, smallest = blocks.max(axis=-1), blocks.min(axis=-1)
    extreme: Floats = np.where(largest > -smallest, largest, smallest)
    zeros = np.full(extreme.shape, 8, np.float32)
    tried = (
        _int4_levels(blocks, np.float32(divisor) * _inverse(extreme), zeros)
        for divisor in INT4_DIVISORS
    )
    levels, scales, _ = _best(tried)
    return pack((levels + 8).astype(np.uint8), scales, None)


def _int4_with_zeros(blocks: Floats) -> Quantized:
    # 0 is always among the levels, so a block that is all zeros stays so
    largest = np.maximum(blocks.max(axis=-1), 0)
    smallest = np.minimum(blocks.min(axis=-1), 0)
    inverse = 15 * _inverse(largest - smallest)
    # The same share of either side is clipped, so the zero point is every share's
    zeros: Floats = np.rint(-smallest * inverse)
    tried = (_int4_levels(blocks, inverse / np.float32(share), zeros) for share in RANGE_SHARES)
    levels, scales, _ = _best(tried)
    codes = (levels + zeros[:, :, None]).astype(np.uint8)
    return pack(codes, scales, zeros.astype(np.uint8))


def _int4_levels(blocks: Floats, inverse: Floats, zeros: Floats) -> tuple[Floats, Floats, Floats]:
    """Round blocks * inverse to the 16 levels around `zeros`, then fit scales by least squares.

    inverse, zeros    float32 (n, b)
    returns           levels float32 (n, b, block), scales and squared errors float32 (n, b)
    """
    levels = blocks * inverse[:, :, None]
    np.rint(levels, out=levels)
    np.clip(levels, -zeros[:, :, None], 15 - zeros[:, :, None], out=levels)
    products = np.einsum("nbi,nbi->nb", levels, blocks)
    squares = np.einsum("nbi,nbi->nb", levels, levels)
    scales = products / np.maximum(squares, np.float32(1))
    # sum((w - s*l)^2) = sum(w^2) - products^2 / squares at the fitted s; sum(w^2) is common
    return levels, scales, -products * scales


def _best(tried: Iterable[tuple[Floats, Floats, Floats]]) -> tuple[Floats, Floats, Floats]:
    """Each block's levels, scale and error where the error is least; the first of equals."""
    return reduce(_better, tried)


def _better(
    best: tuple[Floats, Floats, Floats], other: tuple[Floats, Floats, Floats]
) -> tuple[Floats, Floats, Floats]:
    is_better = other[2] < best[2]
    return (
        np.where(is_better[:, :, None], other[0], best[0]),
        np.where(is_better, other[1], best[1]),
        np.where(is_better, other[2], best[2]),
    )


def pairs(codes: Bytes) -> Bytes:
    """Two codes per byte along the last axis, low nibble first; an odd one is beside 0."""
    high = codes[..., 1::2] << np.uint8(4)
    if codes.shape[-1] % 2:
        high = np.pad(high, [(0, 0)] * (codes.ndim - 1) + [(0, 1)])
    return np.asarray(codes[..., 0::2] | high)


def nibbles(pairs: Bytes) -> Bytes:
    """What `pairs` packed, with an odd code's 0 behind it."""
    return np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(*pairs.shape[:-1], -1)


def _inverse(scales: Floats) -> Floats:
    """1 / scales, and 0 where a block is all zeros."""
    return np.divide(1, scales, out=np.zeros_like(scales), where=scales != 0)

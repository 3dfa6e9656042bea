"""The block formats of GGUF tensors: their bytes to float32, and to blocks of ours that equal them.

Layouts as in ggml's ggml-common.h. A row is whole blocks; every function takes uint8 (n, bytes of
a block), n blocks, and returns float32 (n, weights of a block). Exact: each weight is what ggml's
own dequantisation makes of it, to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from bramble.export.quantize import Quantized, pairs

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
# Blocks → signed levels int16 (n, 32) and scales float32 (n, 1), whose product the weights are
Levels = Callable[[Bytes], tuple[NDArray[np.int16], Floats]]

SUPER = 256  # weights of a K block
# IQ4_NL's 16 levels, and MXFP4's (E2M1 numbers, doubled)
IQ4_NL_LEVELS = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.int16
)
MXFP4_LEVELS = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.int16)


@dataclass(frozen=True, slots=True)
class Format:
    """levels  None where a block is more than integers times one scale
    kinds   of quantize.py, whose blocks hold these unchanged; none without levels
    """

    name: str
    block: int  # weights
    block_bytes: int
    floats: Callable[[Bytes], Floats]
    levels: Levels | None = None
    kinds: tuple[str, ...] = ()

    def bytes_of(self, count: int) -> int:
        """Of that many weights, which are whole blocks."""
        return count // self.block * self.block_bytes

    def dequantize(self, raw: Bytes) -> Floats:
        """Turn uint8 (bytes,) of whole blocks into float32 (weights,)."""
        return np.ascontiguousarray(self.floats(raw.reshape(-1, self.block_bytes))).reshape(-1)

    def quantized(self, raw: Bytes, num_rows: int, kind: str) -> Quantized:
        """Put uint8 (bytes,) of rows into blocks of `kind`, one of kinds. Loses nothing."""
        assert self.levels is not None and kind in self.kinds
        levels, scales = self.levels(raw.reshape(-1, self.block_bytes))
        offset = 8 if kind == "int4" else 128
        codes = (levels + np.int16(offset)).astype(np.uint8).reshape(num_rows, -1, self.block)
        packed = pairs(codes) if kind == "int4" else codes
        return Quantized(packed, np.asarray(scales.reshape(num_rows, -1), np.float32), None)


def _float32(raw: Bytes) -> Floats:
    return raw.view("<f4").astype(np.float32, copy=False)


def _float16(raw: Bytes) -> Floats:
    return raw.view("<f2").astype(np.float32)


def _bfloat16(raw: Bytes) -> Floats:
    wide = raw.view("<u2").astype(np.uint32)
    wide <<= 16  # bfloat16 is the upper half of a float32
    return wide.view(np.float32)


def _half(raw: Bytes, at: int) -> Floats:
    """The float16 at that byte of each block, float32 (n, 1)."""
    return np.ascontiguousarray(raw[:, at : at + 2]).view("<f2").astype(np.float32)


def _halves(raw: Bytes) -> Bytes:
    """Low nibbles of all bytes, then their high ones: (n, b) → (n, 2 b)."""
    return np.concatenate([raw & 15, raw >> 4], axis=-1)


def _bits(raw: Bytes) -> Bytes:
    """The bits of all bytes, lowest first: (n, b) → (n, 8 b)."""
    return np.unpackbits(np.ascontiguousarray(raw), axis=-1, bitorder="little")


def _q4_0(raw: Bytes) -> tuple[NDArray[np.int16], Floats]:
    return _halves(raw[:, 2:]).astype(np.int16) - np.int16(8), _half(raw, 0)


def _q5_0(raw: Bytes) -> tuple[NDArray[np.int16], Floats]:
    levels = _halves(raw[:, 6:]) | _bits(raw[:, 2:6]) << np.uint8(4)
    return levels.astype(np.int16) - np.int16(16), _half(raw, 0)


def _q8_0(raw: Bytes) -> tuple[NDArray[np.int16], Floats]:
    return raw[:, 2:].view(np.int8).astype(np.int16), _half(raw, 0)


def _iq4_nl(raw: Bytes) -> tuple[NDArray[np.int16], Floats]:
    return IQ4_NL_LEVELS[_halves(raw[:, 2:])], _half(raw, 0)


def _mxfp4(raw: Bytes) -> tuple[NDArray[np.int16], Floats]:
    """The scale is 2 ** (byte - 128): halved, as the levels are doubled."""
    exponents = raw[:, :1].astype(np.int32) - 128
    return MXFP4_LEVELS[_halves(raw[:, 1:])], np.ldexp(np.float32(1), exponents)


def _product(levels: Levels) -> Callable[[Bytes], Floats]:
    def floats(raw: Bytes) -> Floats:
        found, scales = levels(raw)
        return found.astype(np.float32) * scales

    return floats


def _q4_1(raw: Bytes) -> Floats:
    return _half(raw, 0) * _halves(raw[:, 4:]).astype(np.float32) + _half(raw, 2)


def _q5_1(raw: Bytes) -> Floats:
    levels = _halves(raw[:, 8:]) | _bits(raw[:, 4:8]) << np.uint8(4)
    return _half(raw, 0) * levels.astype(np.float32) + _half(raw, 2)


def _q4_k(raw: Bytes) -> Floats:
    return _with_minima(raw, _fours(raw[:, 16:]))


def _q5_k(raw: Bytes) -> Floats:
    fifth = _bits(raw[:, 16:48]).reshape(-1, 32, 8).transpose(0, 2, 1)  # bit i is of group i
    return _with_minima(raw, _fours(raw[:, 48:]) | fifth << np.uint8(4))


def _fours(raw: Bytes) -> Bytes:
    """Nibbles of 128 bytes in 8 groups of 32: a run of 32 bytes holds two, low nibbles first."""
    return _halves(raw.reshape(-1, 4, 32)).reshape(-1, 8, 32)


def _with_minima(raw: Bytes, levels: Bytes) -> Floats:
    """Apply a K block's scales and minima, 6 bits each, to levels (n, 8, 32)."""
    low, high, rest = (raw[:, at : at + 4] for at in (4, 8, 12))
    scales = np.concatenate([low & 63, (rest & 15) | (low >> 6) << np.uint8(4)], axis=-1)
    minima = np.concatenate([high & 63, rest >> 4 | (high >> 6) << np.uint8(4)], axis=-1)
    steps = (_half(raw, 0) * scales.astype(np.float32))[:, :, None]
    offsets = (_half(raw, 2) * minima.astype(np.float32))[:, :, None]
    return np.asarray((steps * levels.astype(np.float32) - offsets).reshape(-1, SUPER), np.float32)


def _q6_k(raw: Bytes) -> Floats:
    """Two halves of 128 weights: 64 bytes of nibbles and 32 of pairs of bits each."""
    low = _halves(raw[:, :128].reshape(-1, 2, 64)).reshape(-1, 8, 32)
    pair = raw[:, 128:192].reshape(-1, 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None]
    levels = low | (pair & np.uint8(3)).reshape(-1, 8, 32) << np.uint8(4)
    signed = (levels.astype(np.int16) - np.int16(32)).astype(np.float32).reshape(-1, 16, 16)
    steps = _half(raw, 208) * raw[:, 192:208].view(np.int8).astype(np.float32)
    return np.asarray((steps[:, :, None] * signed).reshape(-1, SUPER), np.float32)


def _leveled(name: str, block_bytes: int, levels: Levels, *kinds: str) -> Format:
    return Format(name, 32, block_bytes, _product(levels), levels, (*kinds, "int8"))


# ggml's number of a type → what is read
BLOCKS: Mapping[int, Format] = MappingProxyType(
    {
        0: Format("F32", 1, 4, _float32),
        1: Format("F16", 1, 2, _float16),
        30: Format("BF16", 1, 2, _bfloat16),
        2: _leveled("Q4_0", 18, _q4_0, "int4"),
        3: Format("Q4_1", 32, 20, _q4_1),
        6: _leveled("Q5_0", 22, _q5_0),
        7: Format("Q5_1", 32, 24, _q5_1),
        8: _leveled("Q8_0", 34, _q8_0),
        12: Format("Q4_K", SUPER, 144, _q4_k),
        13: Format("Q5_K", SUPER, 176, _q5_k),
        14: Format("Q6_K", SUPER, 210, _q6_k),
        20: _leveled("IQ4_NL", 18, _iq4_nl),
        39: _leveled("MXFP4", 17, _mxfp4),
    }
)
# What is refused by its name
OTHERS: Mapping[int, str] = MappingProxyType(
    {
        9: "Q8_1",
        10: "Q2_K",
        11: "Q3_K",
        15: "Q8_K",
        16: "IQ2_XXS",
        17: "IQ2_XS",
        18: "IQ3_XXS",
        19: "IQ1_S",
        21: "IQ3_S",
        22: "IQ2_S",
        23: "IQ4_XS",
        24: "I8",
        25: "I16",
        26: "I32",
        27: "I64",
        28: "F64",
        29: "IQ1_M",
        34: "TQ1_0",
        35: "TQ2_0",
        40: "NVFP4",
        41: "Q1_0",
        42: "Q2_0",
    }
)

"""Rotary position embedding: the tables that every layer of a model shares.

Formulas and roundings as in transformers' modeling_rope_utils.py, so that logits agree.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput
from bramble.model.manifest import Rope

SUPPORTED = ("default", "linear", "llama3")


def tables(rope: Rope, length: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute cosines and sines of every position.

    returns    two float32 (length, rotary_dim / 2)

    Raises BadInput for a scaling that is not supported. Angles are rounded to float32 as the
    reference rounds them; tests/golden holds the model's logits to it.
    """
    positions = np.arange(length, dtype=np.float32)
    angles = np.outer(positions, frequencies(rope)).astype(np.float64)  # (length, rotary_dim / 2)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def frequencies(rope: Rope) -> NDArray[np.float32]:
    """Radians per position of each pair of dimensions, float32 (rotary_dim / 2,)."""
    kind = scaling_type(rope.scaling)
    exponents = np.arange(0, rope.rotary_dim, 2, dtype=np.float32) / np.float32(rope.rotary_dim)
    powers = np.power(np.float32(rope.theta), exponents)
    plain: NDArray[np.float32] = np.divide(1, powers, dtype=np.float32)
    scaling = rope.scaling or {}
    if kind == "linear":
        return np.divide(plain, np.float32(_number(scaling, "factor")), dtype=np.float32)
    if kind == "llama3":
        return _llama3(plain, scaling)
    return plain


def scaling_type(scaling: dict[str, Any] | None) -> str:
    """The name of the scaling. Raises BadInput by name for one that is not supported."""
    kind = "default" if not scaling else scaling.get("rope_type", scaling.get("type", "default"))
    if kind not in SUPPORTED:
        raise BadInput(
            f"rope scaling {kind!r} is not supported; supported are {', '.join(SUPPORTED)}"
        )
    return str(kind)


def _llama3(plain: NDArray[np.float32], scaling: dict[str, Any]) -> NDArray[np.float32]:
    """Llama 3.1's scaling: slow frequencies over `factor`, fast ones kept, a blend between."""
    factor = np.float32(_number(scaling, "factor"))
    low = _number(scaling, "low_freq_factor")
    high = _number(scaling, "high_freq_factor")
    original = _number(scaling, "original_max_position_embeddings")
    wavelengths = np.float32(2 * math.pi) / plain  # positions per turn
    blend = (np.float32(original) / wavelengths - np.float32(low)) / np.float32(high - low)
    blended = (1 - blend) * plain / factor + blend * plain
    slow = np.where(wavelengths > original / low, plain / factor, plain)
    between = (wavelengths >= original / high) & (wavelengths <= original / low)
    return np.where(between, blended, slow).astype(np.float32)


def _number(scaling: dict[str, Any], key: str) -> float:
    value = scaling.get(key)
    if not isinstance(value, int | float):
        raise BadInput(f"rope scaling: got {key} = {value!r}, need a number")
    return float(value)

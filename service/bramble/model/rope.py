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

SUPPORTED = ("default", "linear", "llama3", "yarn")
BETA_FAST, BETA_SLOW = 32.0, 1.0  # of YaRN, as its paper has them


def tables(rope: Rope, length: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Compute cosines and sines of every position.

    returns    two float32 (length, rotary_dim / 2)

    Raises BadInput for a scaling that is not supported. Angles are rounded to float32 as the
    reference rounds them; tests/golden holds the model's logits to it.
    """
    positions = np.arange(length, dtype=np.float32)
    angles = np.outer(positions, frequencies(rope)).astype(np.float64)  # (length, rotary_dim / 2)
    size = np.float32(attention_factor(rope))
    return np.cos(angles).astype(np.float32) * size, np.sin(angles).astype(np.float32) * size


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
    if kind == "yarn":
        return _yarn(powers, rope, scaling)
    return plain


def attention_factor(rope: Rope) -> float:
    """What queries and keys are multiplied by as they are rotated: 1, but for YaRN."""
    scaling = rope.scaling or {}
    if scaling_type(scaling) != "yarn":
        return 1.0
    if "attention_factor" in scaling:
        return _number(scaling, "attention_factor")
    factor = _number(scaling, "factor")
    if "mscale" in scaling and "mscale_all_dim" in scaling:
        whole, part = _number(scaling, "mscale"), _number(scaling, "mscale_all_dim")
        return _magnitude(factor, whole) / _magnitude(factor, part)
    return _magnitude(factor, 1.0)


def scaling_type(scaling: dict[str, Any] | None) -> str:
    """The name of the scaling, of its two keys the newer first. Raises BadInput for others."""
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


def _yarn(powers: NDArray[np.float32], rope: Rope, scaling: dict[str, Any]) -> NDArray[np.float32]:
    """YaRN (arXiv 2309.00071): slow pairs over `factor`, fast ones kept, a ramp between.

    powers    1 / frequency of each pair, unscaled
    """
    factor = np.float32(_number(scaling, "factor"))
    length = _number(scaling, "original_max_position_embeddings")

    def pair(turns: float) -> float:
        """The pair of dimensions, as a fraction, that turns that often over `length`."""
        return (
            rope.rotary_dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))
        )

    low = pair(_number(scaling, "beta_fast", BETA_FAST))
    high = pair(_number(scaling, "beta_slow", BETA_SLOW))
    if scaling.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rope.rotary_dim - 1)
    if low == high:
        high += 0.001  # the reference's way around a division by zero
    steps = np.arange(rope.rotary_dim // 2, dtype=np.float32)
    ramp = np.clip((steps - np.float32(low)) / np.float32(high - low), 0, 1)
    kept = 1 - ramp
    blended = 1 / (factor * powers) * (1 - kept) + 1 / powers * kept
    return np.asarray(blended, np.float32)


def _magnitude(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0


def _number(scaling: dict[str, Any], key: str, default: float | None = None) -> float:
    value = scaling.get(key, default)
    if not isinstance(value, int | float):
        raise BadInput(f"rope scaling: got {key} = {value!r}, need a number")
    return float(value)

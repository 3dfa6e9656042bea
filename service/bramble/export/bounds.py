"""How large keys, values and scaled queries of a model can get, whatever it reads: by its weights.

A float16 KV cache holds numbers up to 65,504. A text that was measured says nothing of others;
a norm's output has a length that no text changes, so its product with a row of weights has a bound.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bramble.export.decoder import Decoder
from bramble.export.weights import Weights, chunks
from bramble.model.rope import attention_factor


def cache_bound(decoder: Decoder, weights: Weights) -> float:
    """Return what no key, value or scaled query exceeds, of all layers.

    Of the checkpoint's weights: what quantisation and its rounded activations add comes on top.
    """
    return max(
        _bound(decoder, weights, index, letter)
        for index in range(decoder.shape.num_layers)
        for letter in "qkv"
    )


def key_bias(decoder: Decoder, weights: Weights) -> float:
    """Return the largest number that is added to a key, of all layers: 0 where nothing is."""
    name = "self_attn.k_proj"
    if not decoder.has_bias(name):
        return 0.0
    biases = (
        _vector(weights, f"model.layers.{index}.{name}.bias")
        for index in range(decoder.shape.num_layers)
    )
    return max(float(np.abs(bias).max()) for bias in biases)


def _bound(decoder: Decoder, weights: Weights, index: int, letter: str) -> float:
    head_dim = decoder.shape.head_dim
    if letter != "v" and decoder.has_qk_norm:
        gain = _vector(weights, f"model.layers.{index}.self_attn.{letter}_norm.weight")
        largest = math.sqrt(head_dim) * float(np.abs(gain).max())
    else:
        largest = _projected(decoder, weights, index, f"self_attn.{letter}_proj")
    if letter != "v":  # a rotation turns two numbers of a size into one that is larger by sqrt(2)
        largest *= math.sqrt(2) * attention_factor(decoder.rope)
    return largest / math.sqrt(head_dim) if letter == "q" else largest


def _projected(decoder: Decoder, weights: Weights, index: int, name: str) -> float:
    """By Cauchy and Schwarz: a product is at most both lengths multiplied."""
    layer = f"model.layers.{index}"
    gain = _vector(weights, f"{layer}.input_layernorm.weight")
    lengths = np.concatenate(
        [
            np.linalg.norm(rows.astype(np.float64) * gain, axis=1)
            for _, rows in chunks(weights, f"{layer}.{name}.weight")
        ]
    )
    products = lengths * math.sqrt(decoder.shape.hidden_size)
    if decoder.has_bias(name):
        products += np.abs(_vector(weights, f"{layer}.{name}.bias"))
    return float(products.max())


def _vector(weights: Weights, name: str) -> NDArray[np.float64]:
    return weights.rows(name, 0, weights.shape(name)[0]).astype(np.float64)

"""The ONNX graphs of a decoder layer: whole, and cut in three around its attention.

A stage runs the cut ones, `before`, `attention` and `behind`: everything but attention rounds a row
of several new tokens as it rounds each of them alone, so tokens that a reply decoded one by one can
be computed together again, to the bit, with attention run for each token in turn. Whole, a layer
is a model of its own: it opens in Netron and runs alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from bramble.export.data_file import Stored
from bramble.export.decoder import Decoder
from bramble.export.graph import MICROSOFT, Graph, hidden_value, value

Value = onnx.ValueInfoProto
CACHE_INPUTS = ("past_key", "past_value", "sequence_lengths", "total_length", "cos", "sin")


@dataclass(frozen=True, slots=True)
class CacheScales:
    """float32 (kv_heads, head_dim): one step of the int8 keys and values of each channel."""

    keys: NDArray[np.float32]
    values: NDArray[np.float32]


class Half:
    """Says that a KV cache is of float16, and attention with it."""


Cache = CacheScales | Half | None  # None = float32


def whole(
    decoder: Decoder,
    index: int,
    kind: str,
    weights: Sequence[Stored],
    cache: CacheScales | None = None,
) -> onnx.ModelProto:
    """One decoder layer: hidden (batch, t, hidden_size) → hidden_out, extending the KV cache.

    past_key, past_value   float32, or int8 with `cache`, (batch, kv_heads, max_len, head_dim),
                           also as present_…
    sequence_lengths       int32 (batch,) each row's total length minus one
    total_length           int32 (1,) the longest row's total length
    cos, sin               float32 (max_pos, rotary_dim / 2), see model/rope.py
    """
    graph = Graph(f"layer-{index:03d}")
    projections = _before(graph, decoder, kind)
    _attention(graph, decoder, decoder.windows[index], projections, cache)
    _behind(graph, decoder, kind)
    inputs, outputs = _cache_values(decoder, cache)
    return graph.model(
        [hidden_value("hidden", decoder), *inputs],
        [hidden_value("hidden_out", decoder), *outputs],
        weights,
    )


def before(decoder: Decoder, index: int, kind: str, weights: Sequence[Stored]) -> onnx.ModelProto:
    """hidden → the layer's queries, keys and values, each float32 (batch, t, heads * head_dim)."""
    graph = Graph(f"layer-{index:03d}.before")
    outputs = _projection_values(decoder, _before(graph, decoder, kind))
    return graph.model([hidden_value("hidden", decoder)], outputs, weights)


def attention(decoder: Decoder, index: int, cache: Cache = None) -> onnx.ModelProto:
    """Queries, keys and values, and the cache as in `whole` → self_attn, float32 (batch, t, …).

    It has no weights. Inputs are named as `before` names its outputs. With a cache of float16, cos
    and sin are float16 too, and layers of one window have the same graph.
    """
    graph = Graph("attention" if isinstance(cache, Half) else f"layer-{index:03d}.attention")
    projections, window = _projections(decoder), decoder.windows[index]
    if isinstance(cache, Half):
        output = _half_attention(graph, decoder, window, projections)
    else:
        output = _attention(graph, decoder, window, projections, cache)
    inputs, outputs = _cache_values(decoder, cache)
    return graph.model(
        [*_projection_values(decoder, projections), *inputs],
        [_heads_value(output, decoder, decoder.shape.num_heads), *outputs],
        (),
    )


def behind(decoder: Decoder, index: int, kind: str, weights: Sequence[Stored]) -> onnx.ModelProto:
    """hidden, self_attn → o_proj, residual and feed-forward → hidden_out."""
    graph = Graph(f"layer-{index:03d}.behind")
    _behind(graph, decoder, kind)
    inputs = [
        hidden_value("hidden", decoder),
        _heads_value("self_attn", decoder, decoder.shape.num_heads),
    ]
    return graph.model(inputs, [hidden_value("hidden_out", decoder)], weights)


def _before(graph: Graph, decoder: Decoder, kind: str) -> list[str]:
    normed = graph.norm("hidden", "input_layernorm.weight", "input_layernorm", decoder.norm_epsilon)
    shape = decoder.shape
    queries, keys, values = (
        _project(graph, decoder, f"self_attn.{letter}_proj", normed, kind) for letter in "qkv"
    )
    if decoder.has_qk_norm:
        queries = _head_norm(graph, decoder, queries, "self_attn.q_norm", shape.num_heads)
        keys = _head_norm(graph, decoder, keys, "self_attn.k_norm", shape.num_kv_heads)
    return [queries, keys, values]


def _projections(decoder: Decoder) -> list[str]:
    """The values that `_before` returns."""
    kind = "norm" if decoder.has_qk_norm else "proj"
    return [f"self_attn.q_{kind}", f"self_attn.k_{kind}", "self_attn.v_proj"]


def _attention(
    graph: Graph,
    decoder: Decoder,
    window: int,
    projections: Sequence[str],
    scales: CacheScales | None,
) -> str:
    shape = decoder.shape
    cache = [*CACHE_INPUTS]
    quantised: dict[str, Any] = {}
    if scales is not None:
        cache += ["", "", ""]  # position_ids, attention_bias, head_sink
        for letter, scale in (("k", scales.keys), ("v", scales.values)):
            cache.append(graph.constant(f"{letter}_scale", scale[None, :, None]))
            quantised[f"{letter}_quant_type"] = "PER_CHANNEL"
        quantised["kv_cache_bit_width"] = 8
    return graph.nodes(
        "GroupQueryAttention",
        [*projections, *cache],
        ["self_attn", "present_key", "present_value"],
        domain=MICROSOFT,
        num_heads=shape.num_heads,
        kv_num_heads=shape.num_kv_heads,
        scale=shape.head_dim**-0.5,
        do_rotary=1,
        local_window_size=window,
        **quantised,
    )[0]


def _half_attention(graph: Graph, decoder: Decoder, window: int, projections: Sequence[str]) -> str:
    """Attention in float16, between casts.

    Queries are scaled before: processors that add products in float16 would overflow behind them.
    """
    queries, *others = projections
    scale = graph.constant("scale", np.array(decoder.shape.head_dim**-0.5, np.float32))
    scaled = graph.node("Mul", [queries, scale], f"{queries}.scaled")
    halves = [
        graph.node("Cast", [name], f"{name}.half", to=TensorProto.FLOAT16)
        for name in (scaled, *others)
    ]
    shape = decoder.shape
    attended = graph.nodes(
        "GroupQueryAttention",
        [*halves, *CACHE_INPUTS],
        ["self_attn.half", "present_key", "present_value"],
        domain=MICROSOFT,
        num_heads=shape.num_heads,
        kv_num_heads=shape.num_kv_heads,
        scale=1.0,
        do_rotary=1,
        local_window_size=window,
    )[0]
    return graph.node("Cast", [attended], "self_attn", to=TensorProto.FLOAT)


def _behind(graph: Graph, decoder: Decoder, kind: str) -> None:
    projected = _project(graph, decoder, "self_attn.o_proj", "self_attn", kind)
    normed, _, _, total = graph.nodes(
        "SkipSimplifiedLayerNormalization",
        ["hidden", projected, "post_attention_layernorm.weight"],
        ["post_attention_layernorm", "", "", "residual"],
        domain=MICROSOFT,
        epsilon=decoder.norm_epsilon,
    )
    graph.node("Add", [total, _mlp(graph, decoder, normed, kind)], "hidden_out")


def _head_norm(graph: Graph, decoder: Decoder, value: str, name: str, num_heads: int) -> str:
    """RMSNorm over each head: the CPU's GroupQueryAttention refuses its own norm inputs."""
    head_dim = decoder.shape.head_dim
    split = graph.shape(f"{name}.heads", 0, 0, num_heads, head_dim)
    joined = graph.shape(f"{name}.joined", 0, 0, num_heads * head_dim)
    heads = graph.node("Reshape", [value, split], f"{name}.split")
    normed = graph.norm(heads, f"{name}.weight", f"{name}.normed", decoder.norm_epsilon)
    return graph.node("Reshape", [normed, joined], name)


def _mlp(graph: Graph, decoder: Decoder, value: str, kind: str) -> str:
    gate = _project(graph, decoder, "mlp.gate_proj", value, kind)
    up = _project(graph, decoder, "mlp.up_proj", value, kind)
    silu = graph.node("QuickGelu", [gate], "mlp.silu", domain=MICROSOFT, alpha=1.0)
    gated = graph.node("Mul", [silu, up], "mlp.gated")
    return _project(graph, decoder, "mlp.down_proj", gated, kind)


def _project(graph: Graph, decoder: Decoder, name: str, value: str, kind: str) -> str:
    bias = f"{name}.bias" if decoder.has_bias(name) else ""
    return graph.linear(value, f"{name}.weight", decoder.matrices()[name], kind, bias)


def _projection_values(decoder: Decoder, names: Sequence[str]) -> list[Value]:
    shape = decoder.shape
    heads = (shape.num_heads, shape.num_kv_heads, shape.num_kv_heads)
    return [_heads_value(name, decoder, n) for name, n in zip(names, heads, strict=True)]


def _heads_value(name: str, decoder: Decoder, num_heads: int) -> Value:
    return value(name, TensorProto.FLOAT, "batch", "t", num_heads * decoder.shape.head_dim)


def _cache_values(decoder: Decoder, cache: Cache) -> tuple[list[Value], list[Value]]:
    """What attention reads beside queries, keys and values, and writes beside its result."""
    shape = decoder.shape
    real = TensorProto.FLOAT16 if isinstance(cache, Half) else TensorProto.FLOAT
    kind = TensorProto.INT8 if isinstance(cache, CacheScales) else real
    row = ("batch", shape.num_kv_heads, "max_len", shape.head_dim)
    table = ("max_pos", decoder.rope.rotary_dim // 2)
    inputs = [
        value("past_key", kind, *row),
        value("past_value", kind, *row),
        value("sequence_lengths", TensorProto.INT32, "batch"),
        value("total_length", TensorProto.INT32, 1),
        value("cos", real, *table),
        value("sin", real, *table),
    ]
    return inputs, [value("present_key", kind, *row), value("present_value", kind, *row)]

"""The ONNX graphs of a model's three kinds of part, wired from onnxruntime's decoder operators.

A graph names its weights by convention (see `codes` and `scales`); it knows no bytes of them.
Every matrix is stored (outputs, inputs), as in the checkpoint, whatever its quantisation: a slice
of rows is a slice of outputs, and an embedding can serve as lm_head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bramble.export.data_file import Stored
from bramble.export.decoder import Decoder
from bramble.export.quantize import BITS, BLOCK, WITH_ZEROS

MICROSOFT = "com.microsoft"
OPSET = 21
IR_VERSION = 10
ACCURACY_LEVEL = 4  # int8 activations: the fastest at every width, see service/DESIGN.md
EMBEDDING = "model.embed_tokens.weight"


def codes(matrix: str) -> str:
    """The initializer that holds a quantised matrix's integers."""
    return f"{matrix}.codes"


def scales(matrix: str) -> str:
    """The initializer that holds a quantised matrix's float32 scales, one per block."""
    return f"{matrix}.scales"


def zeros(matrix: str) -> str:
    """The initializer that holds a quantised matrix's zero points, one per block."""
    return f"{matrix}.zeros"


class Graph:
    """Nodes in the making; every method returns the name of the value it adds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node with one output, which is named like the node."""
        return self.nodes(operator, inputs, [name], **attributes)[0]

    def nodes(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> Sequence[str]:
        self._nodes.append(
            helper.make_node(
                operator, inputs, outputs, f"{self.name}/{outputs[0]}", None, **attributes
            )
        )
        return outputs

    def shape(self, name: str, *sizes: int) -> str:
        return self.constant(name, np.array(sizes, np.int64))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def norm(self, value: str, weight: str, name: str, epsilon: float) -> str:
        return self.node(
            "SimplifiedLayerNormalization", [value, weight], name, axis=-1, epsilon=epsilon
        )

    def linear(
        self, value: str, matrix: str, size: tuple[int, int], kind: str, bias: str = ""
    ) -> str:
        """value (…, inputs) times the transposed matrix, size (outputs, inputs), plus bias."""
        name = matrix.removesuffix(".weight")
        if kind == "float32":
            product = f"{name}.product" if bias else name
            self.node("FusedMatMul", [value, matrix], product, domain=MICROSOFT, transB=1)
            return self.node("Add", [product, bias], name) if bias else product
        inputs = [value, codes(matrix), scales(matrix)]
        if kind in WITH_ZEROS:
            inputs.append(zeros(matrix))
        if bias:
            inputs += [""] * (5 - len(inputs)) + [bias]
        return self.node(
            "MatMulNBits",
            inputs,
            name,
            domain=MICROSOFT,
            N=size[0],
            K=size[1],
            bits=BITS[kind],
            block_size=BLOCK[kind],
            accuracy_level=ACCURACY_LEVEL,
        )

    def model(
        self,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
        weights: Sequence[Stored],
    ) -> onnx.ModelProto:
        initializers = [*self._constants, *(_external(stored) for stored in weights)]
        graph = helper.make_graph(self._nodes, self.name, inputs, outputs, initializers)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="bramble"
        )


def embed(decoder: Decoder, kind: str, weights: Sequence[Stored]) -> onnx.ModelProto:
    """token_ids int32 (batch, t) → hidden float32 (batch, t, hidden_size)."""
    graph = Graph("embed")
    if kind == "float32":
        graph.node("Gather", [EMBEDDING, "token_ids"], "hidden", axis=0)
    else:
        inputs = [codes(EMBEDDING), "token_ids", scales(EMBEDDING)]
        if kind in WITH_ZEROS:
            inputs.append(zeros(EMBEDDING))
        graph.node(
            "GatherBlockQuantized",
            inputs,
            "hidden",
            domain=MICROSOFT,
            bits=BITS[kind],
            block_size=BLOCK[kind],
            gather_axis=0,
            quantize_axis=1,
        )
    token_ids = _value("token_ids", TensorProto.INT32, "batch", "t")
    return graph.model([token_ids], [_hidden("hidden", decoder)], weights)


def lm_head(decoder: Decoder, kind: str, weights: Sequence[Stored]) -> onnx.ModelProto:
    """hidden float32 (rows, hidden_size) → final norm, projection → logits (rows, vocab_size)."""
    graph = Graph("lm_head")
    shape = decoder.shape
    normed = graph.norm("hidden", "model.norm.weight", "model.norm", decoder.norm_epsilon)
    matrix = EMBEDDING if decoder.is_tied else "lm_head.weight"
    logits = graph.linear(normed, matrix, (shape.vocab_size, shape.hidden_size), kind)
    graph.node("Identity", [logits], "logits")
    return graph.model(
        [_value("hidden", TensorProto.FLOAT, "rows", shape.hidden_size)],
        [_value("logits", TensorProto.FLOAT, "rows", shape.vocab_size)],
        weights,
    )


@dataclass(frozen=True, slots=True)
class CacheScales:
    """float32 (kv_heads, head_dim): one step of the int8 keys and values of each channel."""

    keys: NDArray[np.float32]
    values: NDArray[np.float32]


def layer(
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
    attention = _attention(graph, decoder, decoder.windows[index], kind, cache)
    normed, _, _, total = graph.nodes(
        "SkipSimplifiedLayerNormalization",
        ["hidden", attention, "post_attention_layernorm.weight"],
        ["post_attention_layernorm", "", "", "residual"],
        domain=MICROSOFT,
        epsilon=decoder.norm_epsilon,
    )
    graph.node("Add", [total, _mlp(graph, decoder, normed, kind)], "hidden_out")
    inputs, outputs = _layer_values(decoder, TensorProto.INT8 if cache else TensorProto.FLOAT)
    return graph.model(inputs, outputs, weights)


def _attention(
    graph: Graph, decoder: Decoder, window: int, kind: str, scales: CacheScales | None
) -> str:
    normed = graph.norm("hidden", "input_layernorm.weight", "input_layernorm", decoder.norm_epsilon)
    shape = decoder.shape
    queries, keys, values = (
        _project(graph, decoder, f"self_attn.{letter}_proj", normed, kind) for letter in "qkv"
    )
    if decoder.has_qk_norm:
        queries = _head_norm(graph, decoder, queries, "self_attn.q_norm", shape.num_heads)
        keys = _head_norm(graph, decoder, keys, "self_attn.k_norm", shape.num_kv_heads)
    cache = ["past_key", "past_value", "sequence_lengths", "total_length", "cos", "sin"]
    quantised: dict[str, Any] = {}
    if scales is not None:
        cache += ["", "", ""]  # position_ids, attention_bias, head_sink
        for letter, scale in (("k", scales.keys), ("v", scales.values)):
            cache.append(graph.constant(f"{letter}_scale", scale[None, :, None]))
            quantised[f"{letter}_quant_type"] = "PER_CHANNEL"
        quantised["kv_cache_bit_width"] = 8
    attention = graph.nodes(
        "GroupQueryAttention",
        [queries, keys, values, *cache],
        ["self_attn", "present_key", "present_value"],
        domain=MICROSOFT,
        num_heads=shape.num_heads,
        kv_num_heads=shape.num_kv_heads,
        scale=shape.head_dim**-0.5,
        do_rotary=1,
        local_window_size=window,
        **quantised,
    )[0]
    return _project(graph, decoder, "self_attn.o_proj", attention, kind)


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


def _layer_values(
    decoder: Decoder, cache: int
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    shape, real = decoder.shape, TensorProto.FLOAT
    row = ("batch", shape.num_kv_heads, "max_len", shape.head_dim)
    table = ("max_pos", decoder.rope.rotary_dim // 2)
    inputs = [
        _hidden("hidden", decoder),
        _value("past_key", cache, *row),
        _value("past_value", cache, *row),
        _value("sequence_lengths", TensorProto.INT32, "batch"),
        _value("total_length", TensorProto.INT32, 1),
        _value("cos", real, *table),
        _value("sin", real, *table),
    ]
    outputs = [_value("present_key", cache, *row), _value("present_value", cache, *row)]
    return inputs, [_hidden("hidden_out", decoder), *outputs]


def _hidden(name: str, decoder: Decoder) -> onnx.ValueInfoProto:
    return _value(name, TensorProto.FLOAT, "batch", "t", decoder.shape.hidden_size)


def _value(name: str, kind: int, *sizes: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, sizes)


def _external(stored: Stored) -> onnx.TensorProto:
    tensor = TensorProto(
        name=stored.name,
        dims=stored.shape,
        data_type=helper.np_dtype_to_tensor_dtype(np.dtype(stored.dtype)),
        data_location=TensorProto.EXTERNAL,
    )
    where = {"location": stored.location, "offset": stored.offset, "length": stored.bytes}
    for key, value in where.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor

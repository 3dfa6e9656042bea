"""ONNX graphs in the making, and those of a model's two ends, embedding and lm_head.

A graph names its weights by convention (see `codes` and `scales`); it knows no bytes of them.
Every matrix is stored (outputs, inputs), as in the checkpoint, whatever its quantisation: a slice
of rows is a slice of outputs, and an embedding can serve as lm_head.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        """Close the graph; of `weights` it gets those that its nodes name."""
        named = {name for node in self._nodes for name in node.input}
        tensors = [external(stored) for stored in weights if stored.name in named]
        initializers = [*self._constants, *tensors]
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
    token_ids = value("token_ids", TensorProto.INT32, "batch", "t")
    return graph.model([token_ids], [hidden_value("hidden", decoder)], weights)


def lm_head(decoder: Decoder, kind: str, weights: Sequence[Stored]) -> onnx.ModelProto:
    """hidden float32 (rows, hidden_size) → final norm, projection → logits (rows, vocab_size)."""
    graph = Graph("lm_head")
    shape = decoder.shape
    normed = graph.norm("hidden", "model.norm.weight", "model.norm", decoder.norm_epsilon)
    matrix = EMBEDDING if decoder.is_tied else "lm_head.weight"
    logits = graph.linear(normed, matrix, (shape.vocab_size, shape.hidden_size), kind)
    graph.node("Identity", [logits], "logits")
    return graph.model(
        [value("hidden", TensorProto.FLOAT, "rows", shape.hidden_size)],
        [value("logits", TensorProto.FLOAT, "rows", shape.vocab_size)],
        weights,
    )


def hidden_value(name: str, decoder: Decoder) -> onnx.ValueInfoProto:
    return value(name, TensorProto.FLOAT, "batch", "t", decoder.shape.hidden_size)


def value(name: str, kind: int, *sizes: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, sizes)


def external(stored: Stored) -> onnx.TensorProto:
    """An initializer whose bytes are in a data file."""
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

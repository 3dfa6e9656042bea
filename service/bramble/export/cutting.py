"""Which part of each tensor, and of each graph, is a share's. It reads and writes no files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from bramble.errors import BadInput
from bramble.export.data_file import Stored
from bramble.export.graph import external
from bramble.export.quantize import BITS, nibbles, pairs
from bramble.model.manifest import Manifest
from bramble.model.share import Range, Share

ROWS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "embed_tokens", "lm_head")
COLUMNS = ("o_proj", "down_proj")
# Operators that compute a part of their heads or columns as they compute them all
DIVISIBLE = {
    "Add",
    "Cast",
    "FusedMatMul",
    "GroupQueryAttention",
    "Identity",
    "MatMulNBits",
    "Mul",
    "QuickGelu",
    "Reshape",
    "SimplifiedLayerNormalization",
    "SkipSimplifiedLayerNormalization",
}

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class TensorCut:
    """What of a tensor is taken: whole rows, and of each of them what `columns` takes."""

    rows: Range
    shape: tuple[int, ...]  # of the result
    columns: Callable[[Array], Array]


class Cuts:
    def __init__(self, manifest: Manifest, share: Share) -> None:
        shape, kinds = manifest.shape, manifest.quantization
        self._bits = BITS.get(kinds.layers, 0)  # 0: not quantised
        self._block = kinds.block_size if self._bits else 1
        queries, keys = (
            (heads[0] * shape.head_dim, heads[1] * shape.head_dim)
            for heads in (share.heads, share.kv_heads)
        )
        self._share, self._head_dim = share, shape.head_dim
        self._ranges: dict[str, Range] = {
            "q_proj": queries,
            "k_proj": keys,
            "v_proj": keys,
            "o_proj": queries,
            "gate_proj": share.columns,
            "up_proj": share.columns,
            "down_proj": share.columns,
            "embed_tokens": share.vocab,
            "lm_head": share.vocab,
        }

    # ---------------------------------------------------------------------------------- tensors

    def tensor(self, name: str, shape: tuple[int, ...]) -> TensorCut:
        """The cut of an initializer. Raises BadInput for one that cannot be divided here."""
        matrix, kind = _split(name)
        if matrix.endswith("norm"):
            return TensorCut((0, shape[0]), shape, _same)
        if matrix in ROWS:
            rows = self._ranges[matrix]
            return TensorCut(rows, (rows[1] - rows[0], *shape[1:]), _same)
        if matrix in COLUMNS:
            return self._columns(kind, self._ranges[matrix], shape)
        raise BadInput(f"tensor {name!r} cannot be divided by this release; serve it undivided")

    def _columns(self, kind: str, inputs: Range, shape: tuple[int, ...]) -> TensorCut:
        rows = (0, shape[0])
        if kind == "bias":  # is added once: by the member that has the first inputs
            return TensorCut(rows, shape, _same if inputs[0] == 0 else np.zeros_like)
        start, stop = inputs[0] // self._block, inputs[1] // self._block
        count = stop - start
        if kind == "zeros" and self._bits == 4:
            cut = (shape[0], (count + 1) // 2)
            return TensorCut(rows, cut, lambda piece: pairs(nibbles(piece)[:, start:stop]))
        return TensorCut(rows, (shape[0], count, *shape[2:]), lambda piece: piece[:, start:stop])

    # ----------------------------------------------------------------------------------- graphs

    def graph(self, model: onnx.ModelProto, tensors: Mapping[str, Stored]) -> None:
        """Make a graph that of this share, over its cut `tensors`."""
        graph = model.graph
        for node in graph.node:
            self._node(node, tensors)
        initializers = [self._initializer(tensor, tensors) for tensor in graph.initializer]
        del graph.initializer[:]
        graph.initializer.extend(initializers)
        for info in (*graph.input, *graph.output):
            self._info(info)

    def _node(self, node: onnx.NodeProto, tensors: Mapping[str, Stored]) -> None:
        if node.op_type not in DIVISIBLE:
            raise BadInput(f"a graph has {node.op_type}, which this release cannot divide")
        if node.op_type == "GroupQueryAttention":
            _set(node, "num_heads", _count(self._share.heads))
            _set(node, "kv_num_heads", _count(self._share.kv_heads))
        if node.op_type == "MatMulNBits":
            rows, blocks, _ = tensors[node.input[1]].shape
            (block,) = (entry.i for entry in node.attribute if entry.name == "block_size")
            _set(node, "N", rows)
            _set(node, "K", blocks * block)

    def _initializer(
        self, tensor: onnx.TensorProto, tensors: Mapping[str, Stored]
    ) -> onnx.TensorProto:
        if is_external(tensor):
            return external(tensors[tensor.name])
        array = numpy_helper.to_array(tensor)
        if tensor.name in ("k_scale", "v_scale"):  # (1, kv_heads, 1, head_dim)
            first, last = self._share.kv_heads
            array = array[:, first:last]
        owner, _, what = tensor.name.rpartition(".")
        if what in ("heads", "joined"):  # sizes that a norm over each head reshapes to
            count = _count(self._share.heads if owner.endswith("q_norm") else self._share.kv_heads)
            array = array.copy()
            array[2] = count if what == "heads" else count * self._head_dim
        return numpy_helper.from_array(np.ascontiguousarray(array), tensor.name)

    def _info(self, info: onnx.ValueInfoProto) -> None:
        """Set the one size of a graph's input or output that is the share's, if it has one."""
        dims = info.type.tensor_type.shape.dim
        last = info.name.rpartition(".")[2]
        if info.name.startswith(("past_", "present_")):
            dims[1].dim_value = _count(self._share.kv_heads)
        elif info.name == "self_attn" or last.startswith("q_"):
            dims[2].dim_value = _count(self._share.heads) * self._head_dim
        elif last.startswith(("k_", "v_")):
            dims[2].dim_value = _count(self._share.kv_heads) * self._head_dim
        elif info.name == "logits":
            dims[1].dim_value = _count(self._share.vocab)


def subgraph(
    model: onnx.ModelProto, inputs: Sequence[str], outputs: Sequence[str]
) -> onnx.ModelProto:
    """The nodes that make `outputs` of `inputs` and initializers, as a model over the same data.

    Values that were inner ones have the sizes of the hidden state.
    """
    graph, made = model.graph, set(outputs)
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):  # in the order of computing
        if made.intersection(node.output) - set(inputs):
            nodes.insert(0, node)
            made.update(name for name in node.input if name and name not in inputs)
    named = {name for node in nodes for name in node.input}
    hidden = next(info for info in graph.input if info.name == "hidden")
    infos = {info.name: info for info in (*graph.input, *graph.output)}

    def info(name: str) -> Any:
        copied = onnx.ValueInfoProto()
        copied.CopyFrom(infos.get(name, hidden))
        copied.name = name
        return copied

    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    for field, entries in (
        (cut.graph.node, nodes),
        (cut.graph.initializer, [t for t in graph.initializer if t.name in named]),
        (cut.graph.input, [info(name) for name in inputs if name in named]),
        (cut.graph.output, [info(name) for name in outputs]),
    ):
        kept = [type(entry).FromString(entry.SerializeToString()) for entry in entries]
        del field[:]
        field.extend(kept)
    return cut


def is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def _split(name: str) -> tuple[str, str]:
    """self_attn.o_proj.weight.codes → o_proj, codes; mlp.down_proj.bias → down_proj, bias."""
    *owners, kind = name.split(".")
    if owners[-1:] == ["weight"]:
        owners.pop()
    return (owners[-1] if owners else ""), kind


def _same(piece: Array) -> Array:
    return piece


def _count(found: Range) -> int:
    return found[1] - found[0]


def _set(node: onnx.NodeProto, name: str, number: int) -> None:
    (attribute,) = (entry for entry in node.attribute if entry.name == name)
    attribute.i = number

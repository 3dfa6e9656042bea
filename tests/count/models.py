"""What is measured: a real shape with random weights, cut so that an emulated load is short.

What is cut is known by differences: a layer costs what a stage of two takes more than one of one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from bramble.export.api import Options, silent, write_folder
from bramble.export.graph import ACCURACY_LEVEL, IR_VERSION, MICROSOFT, OPSET
from bramble.export.quantize import BITS, BLOCK, quantize
from bramble.export.synthetic import SHAPES, open_synthetic
from onnx import TensorProto, helper, numpy_helper

LAYERS = 3  # a first stage of one, so that behind it one of two and, of three, one of one is last
INPUTS, OUTPUTS = 2048, (2048, 4096)  # of the matrices whose packed files are compared
VOCAB_SHARE = 8  # of the vocabulary's rows one in so many: they cost the same each


def make(shape: str, kind: str, folder: Path) -> None:
    """Export the shape's first layers and both of its ends into `folder`."""
    vocab_size = SHAPES[shape]["vocab_size"] // VOCAB_SHARE
    source = open_synthetic(shape, {"num_hidden_layers": LAYERS, "vocab_size": vocab_size})
    write_folder(source, folder, Options(kind, is_calibrated=False), silent)


def make_matrices(folder: Path) -> None:
    """Write a matrix in two sizes and all quantisations, each as a graph of its own."""
    folder.mkdir(parents=True)
    for kind in BITS:
        for rows in OUTPUTS:
            onnx.save(_matrix(kind, rows), folder / f"{kind}.{rows}.onnx")


def _matrix(kind: str, rows: int) -> onnx.ModelProto:
    made = quantize(np.random.default_rng(0).standard_normal((rows, INPUTS), np.float32), kind)
    arrays = {"codes": made.codes, "scales": made.scales}
    if made.zeros is not None:
        arrays["zeros"] = made.zeros
    node = helper.make_node(
        "MatMulNBits", ["x", *arrays], ["y"], domain=MICROSOFT, N=rows, K=INPUTS,
        bits=BITS[kind], block_size=BLOCK[kind], accuracy_level=ACCURACY_LEVEL,
    )  # fmt: skip
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("x", INPUTS), ("y", rows))
    ]
    weights = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph([node], kind, ends[:1], ends[1:], weights)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)

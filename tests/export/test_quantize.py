"""Quantised weights: how far they are from the original, and that onnxruntime reads the same."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from bramble.export.quantize import BITS, BLOCK, dequantize, quantize
from onnx import TensorProto, helper, numpy_helper

# Relative root-mean-square error of normal weights: int4 of a plain absmax / -8 scale is 0.085
LIMITS = {
    "int4": 0.083,
    "int4-64": 0.094,
    "int4-128-symmetric": 0.106,
    "int4-128": 0.096,
    "int8": 0.007,
}


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((256, 640), np.float32)


@pytest.mark.parametrize("kind", LIMITS)
def test_error_of_normal_weights(weights: np.ndarray, kind: str) -> None:
    back = dequantize(quantize(weights, kind), kind)
    assert np.sqrt(np.mean((back - weights) ** 2) / np.mean(weights**2)) < LIMITS[kind]


@pytest.mark.parametrize("kind", LIMITS)
def test_zeros_and_constants_survive(kind: str) -> None:
    rows = np.zeros((3, 256), np.float32)
    rows[1] = -2.5
    rows[2, 128:] = 1e-30
    back = dequantize(quantize(rows, kind), kind)
    np.testing.assert_allclose(back, rows, rtol=1e-6)


@pytest.mark.parametrize("kind", LIMITS)
def test_onnxruntime_multiplies_by_the_dequantised_weights(weights: np.ndarray, kind: str) -> None:
    made = quantize(weights, kind)
    arrays = {"codes": made.codes, "scales": made.scales}
    if made.zeros is not None:
        arrays["zeros"] = made.zeros
    node = helper.make_node(
        "MatMulNBits", ["x", *arrays], ["y"], domain="com.microsoft",
        N=256, K=640, bits=BITS[kind], block_size=BLOCK[kind], accuracy_level=1,
    )  # fmt: skip
    x = np.random.default_rng(1).standard_normal((4, 640), np.float32)
    expected = x @ dequantize(made, kind).T
    # float32 accumulation over 640 terms of size 1
    np.testing.assert_allclose(run(node, arrays, x=x), expected, atol=2e-4)


@pytest.mark.parametrize("kind", LIMITS)
def test_onnxruntime_looks_up_the_dequantised_rows(weights: np.ndarray, kind: str) -> None:
    made = quantize(weights, kind)
    arrays = {"codes": made.codes.reshape(256, -1), "scales": made.scales}
    if made.zeros is not None:
        arrays["zeros"] = made.zeros
    node = helper.make_node(
        "GatherBlockQuantized", ["codes", "x", *list(arrays)[1:]], ["y"], domain="com.microsoft",
        bits=BITS[kind], block_size=BLOCK[kind], gather_axis=0, quantize_axis=1,
    )  # fmt: skip
    x = np.array([3, 255, 0, 3], np.int32)
    np.testing.assert_allclose(run(node, arrays, x=x), dequantize(made, kind)[x], rtol=1e-6)


def run(node, arrays, **feed):
    """Return the one output of a graph of one node over constants."""
    values = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in feed.items()
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", values, [output], constants)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]

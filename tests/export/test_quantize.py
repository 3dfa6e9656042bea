"""Quantised weights: how far they are from the original, and that onnxruntime reads the same."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from bramble.export.quantize import dequantize, quantize
from onnx import TensorProto, helper, numpy_helper

# Relative root-mean-square error of normal weights: int4 of a plain absmax / -8 scale is 0.085
LIMITS = {"int4": 0.083, "int8": 0.007}


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((256, 512), np.float32)


@pytest.mark.parametrize("kind", LIMITS)
def test_error_of_normal_weights(weights: np.ndarray, kind: str) -> None:
    back = dequantize(*quantize(weights, kind), kind)
    assert np.sqrt(np.mean((back - weights) ** 2) / np.mean(weights**2)) < LIMITS[kind]


@pytest.mark.parametrize("kind", LIMITS)
def test_zeros_and_constants_survive(kind: str) -> None:
    rows = np.zeros((3, 64), np.float32)
    rows[1] = -2.5
    back = dequantize(*quantize(rows, kind), kind)
    np.testing.assert_allclose(back, rows, rtol=1e-6)


@pytest.mark.parametrize("kind", LIMITS)
def test_onnxruntime_multiplies_by_the_dequantised_weights(weights: np.ndarray, kind: str) -> None:
    codes, scales = quantize(weights, kind)
    bits = 4 if kind == "int4" else 8
    node = helper.make_node(
        "MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft",
        N=256, K=512, bits=bits, block_size=32, accuracy_level=1,
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 512])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 256])],
        [numpy_helper.from_array(codes, "codes"), numpy_helper.from_array(scales, "scales")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    x = np.random.default_rng(1).standard_normal((4, 512), np.float32)
    expected = x @ dequantize(codes, scales, kind).T
    # float32 accumulation over 512 terms of size 1
    np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, atol=1e-4)

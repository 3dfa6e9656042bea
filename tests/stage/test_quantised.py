"""A quantised model computes what a float32 model of its dequantised weights computes."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
from bramble.export import graph
from bramble.export.api import EMBEDDED, Options, export
from bramble.export.quantize import Quantized, dequantize
from bramble.export.safetensors import Checkpoint
from bramble.model import manifest as manifests
from onnx.numpy_helper import to_array
from ring import GOLDENS, Logits
from safetensors.numpy import save_file

# The kernels round activations to 8 bits by default: it moves these models' logits by 0.04 of
# their norm in the mean, 0.11 at most. Weights from a wrong place move them by about 1.
ROUNDED = 0.2
EXACT = 1e-4  # with activations in float32: sums in another order


def dequantised(source, written, folder):
    """Write a checkpoint with every quantised weight replaced by what the written model has."""
    shutil.copytree(source, folder)
    checkpoint, found = Checkpoint(folder), weights(written)
    tensors = {}
    for name in checkpoint.names():
        shape = checkpoint.shape(name)
        plain = checkpoint.rows(name, 0, shape[0]).reshape(shape)
        tensors[name] = found.get(name, plain)
        assert (name in found) == (plain.ndim == 2)
    for path in folder.glob("*.safetensors*"):  # one case comes in several files
        path.unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def weights(folder):
    """Return a model folder's quantised matrices as float32, by their names in a checkpoint."""
    manifest, matrices = manifests.read(folder), {}
    for part in manifest.parts:
        stored = {
            t.name: to_array(t, str(folder / "shards"))
            for t in onnx.load(folder / part.onnx, load_external_data=False).graph.initializer
        }
        prefix = f"model.layers.{int(part.name[-3:])}." if part.name.startswith("layer") else ""
        kind = getattr(manifest.quantization, "layers" if prefix else part.name)
        for name in [name.removesuffix(".codes") for name in stored if name.endswith(".codes")]:
            codes, scales = stored[f"{name}.codes"], stored[f"{name}.scales"]
            made = Quantized(codes.reshape(*scales.shape, -1), scales, stored.get(f"{name}.zeros"))
            matrices[prefix + name] = dequantize(made, kind)
    return matrices


@pytest.mark.parametrize("kind", ["int4", "int8"])
@pytest.mark.parametrize("case", ["llama2", "llama3", "mistral", "qwen2", "qwen3"])
def test_logits_are_those_of_the_dequantised_weights(case, kind, model, tmp_path, monkeypatch):
    prompt = np.load(GOLDENS / case / "golden.npz")["prompt_0"]
    check(GOLDENS / case, kind, model(case, kind), prompt, tmp_path, monkeypatch)


@pytest.mark.parametrize("kind", ["int4-64", "int4-128-symmetric", "int4-128"])
def test_logits_of_wide_blocks_are_those_of_the_dequantised_weights(kind, tmp_path, monkeypatch):
    export(str(EMBEDDED), tmp_path / "served", Options(quantization=kind))
    prompt = np.arange(100, 148, dtype=np.int32)
    check(EMBEDDED, kind, tmp_path / "served", prompt, tmp_path, monkeypatch)


def check(checkpoint, kind, folder, prompt, tmp_path, monkeypatch):
    source = dequantised(checkpoint, folder, tmp_path / "source")
    export(str(source), tmp_path / "float32", Options(quantization="float32"))
    monkeypatch.setattr(graph, "ACCURACY_LEVEL", 1)
    export(str(checkpoint), tmp_path / "level-1", Options(quantization=kind))

    want, exact, rounded = (
        Logits(made).prefill_logits(prompt)
        for made in (tmp_path / "float32", tmp_path / "level-1", folder)
    )
    assert differences(exact, want).max() < EXACT
    assert differences(rounded, want).max() < ROUNDED


def differences(got, want):
    """Return each position's error, as a share of the norm of its logits."""
    return np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)

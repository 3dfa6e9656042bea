"""A quantised model computes what a float32 model of its dequantised weights computes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from bramble.export import graph
from bramble.export.api import EMBEDDED, Options, export
from bramble.export.quantize import dequantize, quantize
from bramble.export.safetensors import Checkpoint
from bramble.model import manifest as manifests
from ring import GOLDENS, Logits
from safetensors.numpy import save_file

# The kernels round activations to 8 bits by default: it moves these models' logits by 0.04 of
# their norm in the mean, 0.11 at most. Weights from a wrong place move them by about 1.
ROUNDED = 0.2
EXACT = 1e-4  # with activations in float32: sums in another order


def dequantised(source, kinds, folder):
    """Write a checkpoint with every quantised weight replaced by what it stands for."""
    shutil.copytree(source, folder)
    checkpoint = Checkpoint(folder)
    tensors = {}
    for name in checkpoint.names():
        shape = checkpoint.shape(name)
        tensor = tensors[name] = checkpoint.rows(name, 0, shape[0]).reshape(shape)
        part = "embed" if "embed_tokens" in name else "lm_head" if "lm_head" in name else "layers"
        if tensor.ndim == 2 and (kind := getattr(kinds, part)) != "float32":
            tensors[name] = dequantize(quantize(tensor, kind), kind)
    for path in folder.glob("*.safetensors*"):  # one case comes in several files
        path.unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("kind", ["int4", "int8"])
@pytest.mark.parametrize("case", ["llama2", "llama3", "mistral", "qwen2", "qwen3"])
def test_logits_are_those_of_the_dequantised_weights(case, kind, model, tmp_path, monkeypatch):
    prompt = np.load(GOLDENS / case / "golden.npz")["prompt_0"]
    check(GOLDENS / case, kind, model(case, kind), prompt, tmp_path, monkeypatch)


def test_logits_of_wide_blocks_are_those_of_the_dequantised_weights(tmp_path, monkeypatch):
    export(str(EMBEDDED), tmp_path / "served", Options(quantization="int4-128"))
    prompt = np.arange(100, 148, dtype=np.int32)
    check(EMBEDDED, "int4-128", tmp_path / "served", prompt, tmp_path, monkeypatch)


def check(checkpoint, kind, folder, prompt, tmp_path, monkeypatch):
    source = dequantised(checkpoint, manifests.read(folder).quantization, tmp_path / "source")
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

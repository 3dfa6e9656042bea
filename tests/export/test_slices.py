"""Slices of a model: each member's part of every tensor, and together all of it."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from bramble.errors import BadInput
from bramble.export import slices
from bramble.export.api import Options, export
from bramble.export.architectures import describe
from bramble.export.config_file import ConfigFile
from bramble.export.cutting import Cuts
from bramble.export.quantize import BLOCK, KINDS, dequantize, quantize
from bramble.export.synthetic import SHAPES
from bramble.model import manifest as manifests
from bramble.model import slices as documents
from bramble.model.manifest import Quantization
from bramble.model.share import Share
from bramble.plan import cut as plan

HERE = Path(__file__).parents[1]
GOLDENS = HERE / "golden"


def _load(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, HERE / "stage" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_load("ring")
shares = _load("groups").shares


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    made = {}

    def make(case: str, quantization: str) -> Path:
        if (case, quantization) not in made:
            folder = tmp_path_factory.mktemp("models") / f"{case}-{quantization}"
            export(str(GOLDENS / case), folder, Options(quantization=quantization))
            made[case, quantization] = folder
        return made[case, quantization]

    return make


def cut(folder, parts, tmp_path):
    manifest = manifests.read(folder)
    shape = manifest.shape
    block = 32 if manifest.quantization.layers != "float32" else 1
    whole = Share.whole(shape, 0, shape.num_layers, True, True)
    made = shares(shape, parts, block, whole)
    for rank, share in enumerate(made):
        slices.write(folder, manifest, share, tmp_path / str(rank))
    return manifest, made


def tensors(folder, *files):
    found = {}
    for file in files:
        model = onnx.load(folder / file)
        found |= {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    return found


@pytest.mark.parametrize(
    ("case", "quantization"),
    [("llama3", "int4"), ("llama2", "int8"), ("qwen2", "float32"), ("qwen3", "int4")],
)
def test_members_together_have_each_number_once(case, quantization, model, tmp_path):
    folder = model(case, quantization)
    manifest, made = cut(folder, (1, 1), tmp_path)
    part = manifest.part("layer-001")
    want = tensors(folder, part.cut.before, part.cut.behind)
    got = [
        tensors(tmp_path / str(rank), *(f"layer-001.{k}.onnx" for k in ("before", "out", "feed")))
        for rank in range(len(made))
    ]
    for name, tensor in want.items():
        parts = [each[name] for each in got]
        if "norm" in name:
            assert not name.endswith("weight") or all(np.array_equal(p, tensor) for p in parts)
        elif name.endswith(("o_proj.bias", "down_proj.bias")):
            np.testing.assert_array_equal(sum(parts), tensor)
        else:
            axis = 1 if "o_proj" in name or "down_proj" in name else 0
            np.testing.assert_array_equal(np.concatenate(parts, axis), tensor)


@pytest.mark.parametrize("case", ["llama3", "qwen3"])
def test_rows_of_the_lm_head_are_divided(case, model, tmp_path):
    folder = model(case, "int4")
    manifest, made = cut(folder, (1, 2), tmp_path)
    want = tensors(folder, manifest.part("lm_head").onnx)
    got = [tensors(tmp_path / str(rank), "lm_head.onnx") for rank in range(2)]
    for name in want.keys() - {"model.norm.weight"}:
        np.testing.assert_array_equal(np.concatenate([g[name] for g in got]), want[name])
    session = onnxruntime.InferenceSession(str(tmp_path / "1" / "lm_head.onnx"))
    assert session.get_outputs()[0].shape == ["rows", made[1].vocab[1] - made[1].vocab[0]]


@pytest.mark.parametrize("inputs", [(0, 384), (128, 384), (128, 640), (384, 640), (0, 640)])
def test_two_zero_points_in_a_byte_are_taken_apart(inputs, model):
    """Blocks 0:3, 1:3, 1:5, 3:5 of five: a byte that two blocks share is cut on either side."""
    manifest = manifests.read(model("llama2", "int4"))
    manifest = replace(manifest, quantization=Quantization("int4-128", "int8", "int8", 128))
    weights = np.random.default_rng(0).normal(0, 1, (7, 640)).astype(np.float32)
    made = quantize(weights, "int4-128")
    share = Share(0, 1, False, (0, 1), (0, 1), inputs)
    cuts = Cuts(manifest, share)

    def taken(kind, tensor):
        found = cuts.tensor(f"mlp.down_proj.weight.{kind}", tensor.shape)
        result = found.columns(tensor[slice(*found.rows)])
        assert result.shape == found.shape
        return result

    part = replace(
        made,
        codes=taken("codes", made.codes),
        scales=taken("scales", made.scales),
        zeros=taken("zeros", made.zeros),
    )
    want = dequantize(made, "int4-128")[:, slice(*inputs)]
    np.testing.assert_array_equal(dequantize(part, "int4-128"), want)


@pytest.mark.parametrize(
    ("case", "change", "sentence"),
    [
        ("llama3", {"columns": (0, 40)}, "feed-forward columns 0:40 were assigned; int4 weights"),
        ("llama3", {"heads": (0, 1)}, "query heads 0:1 of 16, inputs 0:16 were assigned; int4"),
        ("llama3", {"columns": (32, 32)}, "no feed-forward column was assigned"),
        ("llama3", {"vocab": (7, 7)}, "no row of the lm_head was assigned"),
        ("llama3", {"vocab": (0, 161)}, "rows of the lm_head 0:161 were assigned; the model has"),
        ("llama3", {"heads": (0, 2), "kv_heads": (0, 2)}, "need one head or more, and KV heads"),
    ],
)
def test_a_share_that_cannot_be_cut_is_refused_with_the_numbers(
    case, change, sentence, model, tmp_path
):
    folder = model(case, "int4")
    manifest = manifests.read(folder)
    whole = Share.whole(manifest.shape, 0, manifest.shape.num_layers, True, True)
    share = replace(whole, **({"heads": (0, 2), "kv_heads": (0, 1)} | change))
    with pytest.raises(BadInput, match=sentence):
        slices.write(folder, manifest, share, tmp_path / "slices")
    told = []
    arguments = [str(folder), str(tmp_path / "slices"), json.dumps(asdict(share))]
    assert slices.main(arguments, told.append) == slices.EXIT_BAD_INPUT
    assert sentence in told[0]


def test_what_slices_depend_on_is_in_their_key(model):
    manifest = manifests.read(model("llama3", "int4"))
    other = manifests.read(model("llama3", "int8"))
    whole = Share.whole(manifest.shape, 0, 2, True, False)
    share = replace(whole, columns=(0, 32))
    key = documents.key(manifest, share)
    assert key == documents.key(manifest, replace(share, has_embed=False))
    assert key != documents.key(manifest, replace(share, columns=(32, 64)))
    assert key != documents.key(manifest, replace(share, stop=1))
    assert key != documents.key(other, share)


def test_a_file_that_ends_early_is_told(model, tmp_path):
    folder = tmp_path / "model"
    manifest = manifests.read(model("llama3", "int4"))
    for name in manifest.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((model("llama3", "int4") / name).read_bytes()[:5000])
    (folder / "manifest.json").write_bytes((model("llama3", "int4") / "manifest.json").read_bytes())
    share = replace(Share.whole(manifest.shape, 0, 1, False, False), columns=(0, 32))
    for name in manifest.part_files(["layer-000"]):
        if name.endswith(".onnx"):
            (folder / name).write_bytes((model("llama3", "int4") / name).read_bytes())
    told = []
    arguments = [str(folder), str(tmp_path / "slices"), json.dumps(asdict(share))]
    assert slices.main(arguments, told.append) == 1
    assert "amid a tensor" in told[0]


# Seven heads of 64 share a KV head, three and a half blocks of 128; a toy's heads have 16
NOT_IN_TWO = {
    "tiny": {"int4", "int4-64", "int4-128", "int4-128-symmetric", "int8"},
    "qwen2.5-0.5b": {"int4-128", "int4-128-symmetric"},
}


@pytest.mark.parametrize("name", SHAPES)
def test_whatever_a_plan_divides_can_be_cut(name, model):
    shape = describe(ConfigFile(SHAPES[name])).shape
    known = manifests.read(model("llama2", "int4"))
    refused = []
    for kind, members in product(KINDS, range(2, 9)):
        kinds = Quantization(kind, kind, kind, BLOCK.get(kind, 32))
        manifest = replace(known, shape=shape, quantization=kinds)
        whole = Share.whole(shape, 0, shape.num_layers, True, True)
        for speeds in ([1.0] * members, [1.0 + rank / 3 for rank in range(members)]):
            try:
                made = plan.cut(whole, shape, plan.block_of(manifest), speeds)
            except BadInput:
                refused.append((kind, members))
                continue
            for share in made:
                documents.check(manifest, share)
    assert {kind for kind, members in refused if members == 2} <= NOT_IN_TWO.get(name, set())

"""Packed weights: the same bits, made once, made anew where they cannot be right."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from bramble.errors import BadShard
from bramble.export.api import Options, export
from bramble.export.safetensors import Checkpoint
from bramble.model import manifest as manifests
from bramble.stage import packed
from bramble.stage.engine import Engine
from bramble.stage.proof import Proofs
from bramble.stage.session import Threads
from bramble.wire.messages import StepKind
from ring import GOLDENS, Ring, assign
from safetensors.numpy import save_file

PROMPT = [7, 9, 30, 4, 11]


def logits(folder, root, **changes):
    manifest = replace(manifests.read(folder), **changes)
    engine = Engine(folder, manifest, assign(manifest), 1, root)
    step = Ring(folder).step(StepKind.PREFILL, [PROMPT], [0])
    return engine._shard.logits(engine.run(step) and engine._shard._batch((0, 1, 5)).output[:, -1])


def files(root):
    return {path: path.stat().st_mtime_ns for path in root.rglob("*.*") if path.is_file()}


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A checkpoint of one layer, most of whose tensors are large enough to be kept packed."""
    folder = tmp_path_factory.mktemp("large") / "large"
    shutil.copytree(GOLDENS / "llama2", folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_size": 1536, "intermediate_size": 2176, "num_hidden_layers": 1}
    config |= {"num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 64}
    config |= {"vocab_size": 2176}
    (folder / "config.json").write_text(json.dumps(config))
    random, tensors = np.random.default_rng(0), {}
    checkpoint = Checkpoint(folder)
    sizes = {64: 1536, 96: 2176, 160: 2176, 32: 512}
    for name in checkpoint.names():
        if ".layers.1." in name or ".layers.2." in name:
            continue
        shape = [sizes[n] for n in checkpoint.shape(name)]
        if "k_proj" in name or "v_proj" in name:
            shape[0] = 512
        tensors[name] = random.normal(0, 0.03, shape).astype(np.float32)
        if len(shape) == 1:
            tensors[name] = np.ones(shape, np.float32)
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def exported(large, tmp_path_factory):
    """It as a model folder in int4, for tests that change nothing in it."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    export(str(large), folder, Options(quantization="int4"))
    return folder


@pytest.mark.parametrize(
    "quantization", ["int4", "int4-64", "int4-128-symmetric", "int4-128", "int8", "float32"]
)
def test_large_weights_are_kept_packed_and_give_the_same_bits(quantization, large, tmp_path):
    folder = tmp_path / "model"
    export(str(large), folder, Options(quantization=quantization))
    plain = logits(folder, None)
    for _ in range(2):
        np.testing.assert_array_equal(logits(folder, tmp_path / "packed"), plain)
    sizes = [path.stat().st_size for path in files(tmp_path / "packed") if path.suffix == ".data"]
    assert len(sizes) == 3 and min(sizes) > 1 << 20  # a layer before and behind attention, lm_head


@pytest.mark.parametrize("room", [20_000, 1_500_000])
def test_a_disk_that_fills_while_weights_are_packed_costs_memory_and_nothing_else(
    room, exported, tmp_path
):
    folder, root = exported, tmp_path / "packed"
    plain = logits(folder, None)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))  # as ENOSPC, for this process
    try:
        np.testing.assert_array_equal(logits(folder, root), plain)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    np.testing.assert_array_equal(logits(folder, root), plain)
    np.testing.assert_array_equal(logits(folder, root), plain)
    assert not list(root.rglob("partial"))


@pytest.mark.parametrize("quantization", ["int4", "int8", "float32"])
def test_the_logits_are_the_same_bits_when_packed_when_made_and_when_loaded(
    quantization, model, tmp_path
):
    folder = model("qwen3", quantization)
    plain = logits(folder, None)
    np.testing.assert_array_equal(logits(folder, tmp_path), plain)
    made = files(tmp_path)
    assert {path.suffix for path in made} >= {".onnx"}
    np.testing.assert_array_equal(logits(folder, tmp_path), plain)
    assert files(tmp_path) == made


def flip(path, at):
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 1 << at % 8
    path.write_bytes(data)


@pytest.mark.parametrize("ending", [".onnx", ".data", ".sha256"])
def test_a_copy_of_which_one_bit_has_changed_is_made_anew_before_it_serves(
    ending, exported, tmp_path
):
    folder, root = exported, tmp_path / "packed"
    plain = logits(folder, root)
    made = {path: path.read_bytes() for path in files(root) if path.suffix == ending}
    assert made
    for path, content in made.items():
        for at in (0, len(content) // 2, len(content) - 1):
            flip(path, at)
            np.testing.assert_array_equal(logits(folder, root), plain)
            assert path.read_bytes() == content


@pytest.mark.parametrize("ending", [".onnx", ".data", ".sha256"])
def test_a_copy_of_which_a_file_is_cut_short_or_missing_is_made_anew(ending, exported, tmp_path):
    folder, root = exported, tmp_path / "packed"
    plain = logits(folder, root)
    for path in [path for path in files(root) if path.suffix == ending]:
        content = path.read_bytes()
        for spoil in (path.unlink, lambda path=path: path.write_bytes(path.read_bytes()[:-7])):
            spoil()
            np.testing.assert_array_equal(logits(folder, root), plain)
            assert path.read_bytes() == content


def test_a_damaged_original_is_not_packed(exported, tmp_path):
    folder, root = tmp_path / "model", tmp_path / "packed"
    shutil.copytree(exported, folder)
    proofs = Proofs(root)
    parts = packed.PackedParts(root, folder, manifests.read(folder), Threads(1), proofs)
    flip(folder / "shards" / "layer-000.data", 1 << 20)
    with pytest.raises(BadShard, match=r"layer-000\.data: got sha256"):
        parts.make("layer-000", "shards/layer-000.before.onnx")
    assert not files(root)


def test_what_is_suspect_is_packed_anew(model, tmp_path):
    folder = model("llama3", "int4")
    manifest = manifests.read(folder)
    plain, made = logits(folder, tmp_path), files(tmp_path)
    Engine(folder, manifest, replace(assign(manifest), is_suspect=True), 1, tmp_path)
    again = files(tmp_path)
    packed_parts = [path for path in made if path.suffix == ".onnx"]
    assert len(packed_parts) > 2 and all(again[path] > made[path] for path in packed_parts)
    np.testing.assert_array_equal(logits(folder, tmp_path), plain)


def test_another_export_of_a_part_replaces_it(model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model("llama3", "int8"), folder)
    logits(folder, tmp_path / "packed", name="same")
    before = files(tmp_path / "packed")
    other = model("qwen3", "int8")
    logits(other, tmp_path / "packed", name="same")
    after = files(tmp_path / "packed")
    assert len(after) == len(before) and not set(after) & set(before)


def test_another_processor_packs_anew(model, tmp_path, monkeypatch):
    folder = model("llama3", "int4")
    logits(folder, tmp_path)
    before = files(tmp_path)
    monkeypatch.setattr(packed, "machine_key", lambda: "another")
    logits(folder, tmp_path)
    assert {path.parent.name for path in files(tmp_path)} == {"another"}
    assert not any(path.exists() for path in before)


def test_a_full_disk_costs_memory_and_nothing_else(model, tmp_path, monkeypatch, caplog):
    folder = model("llama3", "int4")
    monkeypatch.setattr(packed, "SPARE_BYTES", 1 << 62)
    np.testing.assert_array_equal(logits(folder, tmp_path), logits(folder, None))
    assert not files(tmp_path) and "not_packed" in caplog.text


def test_other_models_give_way_where_the_disk_is_full(model, tmp_path, monkeypatch):
    folder = model("llama3", "int4")
    logits(folder, tmp_path, name="old")
    assert files(tmp_path)
    monkeypatch.setattr(packed, "SPARE_BYTES", 1 << 62)
    logits(folder, tmp_path, name="new")
    assert not files(tmp_path)


def test_nothing_is_removed_that_was_not_packed(model, tmp_path, monkeypatch):
    folder = tmp_path / "llama"
    shutil.copytree(model("llama3", "int4"), folder)
    before = files(folder)
    monkeypatch.setattr(packed, "SPARE_BYTES", 1 << 62)
    for name in ("llama", "other"):  # --packed names the folder with the models, by mistake
        logits(folder, tmp_path, name=name)
    assert files(folder) == before


def test_a_folder_that_cannot_be_written_costs_memory_and_nothing_else(model, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    logits(model("llama3", "int4"), tmp_path / "file")
    assert "not_packed" in caplog.text


PACKER = """
import sys
from pathlib import Path
from bramble.model import manifest
from bramble.stage.packed import PackedParts
from bramble.stage.proof import Proofs
from bramble.stage.session import Threads, load
folder, root = map(Path, sys.argv[1:])
parts = PackedParts(root, folder, manifest.read(folder), Threads(1), Proofs(root))
print("ready", flush=True)
sys.stdin.readline()
for name in ("layer-000", "lm_head"):
    path = parts.make(name, f"shards/{name}.onnx")
    assert path.is_relative_to(root), path
    load(path, Threads(1))  # whole, whoever wrote it
"""


def test_processes_that_pack_the_same_part_at_once_make_one_that_is_whole(exported, tmp_path):
    folder, root = exported, tmp_path / "packed"
    command = [sys.executable, "-c", PACKER, folder, root]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    packers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for packer in packers:
        assert packer.stdout.readline() == b"ready\n"
    for packer in packers:
        packer.stdin.write(b"go\n")
        packer.stdin.flush()
    for packer in packers:
        packer.communicate(timeout=60)
    assert [packer.returncode for packer in packers] == [0, 0, 0]
    assert len(files(root)) == 6 and not list(root.rglob("partial*"))


def test_what_a_killed_packer_left_is_in_nobodys_way(model, tmp_path):
    folder = model("llama3", "int4")
    place = tmp_path / manifests.read(folder).name / packed.machine_key() / "partial"
    place.mkdir(parents=True)
    (place / "layer-000-half.onnx").write_bytes(b"half")
    np.testing.assert_array_equal(logits(folder, tmp_path), logits(folder, None))
    assert not place.exists()

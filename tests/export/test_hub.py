"""Downloads from a hub that runs here; the exporter is a process of its own, as users run it."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from bramble.export.safetensors import read_header, to_float32
from bramble.model import manifest as manifests
from safetensors.numpy import save_file

GOLDEN = Path(__file__).parents[1] / "golden" / "llama3"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


hub_server = _load("hub_server")


def export(
    endpoint: str, home: Path, dest: Path, *flags: str, repository: str = "acme/tiny"
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
    }
    command = [sys.executable, "-m", "bramble.cli", "export", repository, str(dest), *flags]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_hub_id_is_fetched_and_its_commit_recorded(tmp_path: Path) -> None:
    with hub_server.serve(hub_server.Hub(GOLDEN)) as hub:
        done = export(hub.endpoint, tmp_path / "home", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert manifests.read(tmp_path / "model").source == {
        "kind": "hub",
        "id": "acme/tiny",
        "revision": hub_server.COMMIT,
    }
    assert "golden.npz" not in hub.fetched


def test_the_hubs_library_is_imported_after_its_settings_are_made() -> None:
    program = "import sys, bramble.export.command; print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_a_cut_connection_resumes_where_it_broke(tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN, tmp_path / "source")
    (folder / "LICENSE").write_bytes(bytes(12_000_000))  # the library keeps pieces of 10 MiB
    hub = hub_server.Hub(folder, cuts={"LICENSE": 11_000_000})
    with hub_server.serve(hub):
        done = export(hub.endpoint, tmp_path / "home", tmp_path / "model")
        if done.returncode:
            assert "it resumes" in done.stderr
            done = export(hub.endpoint, tmp_path / "home", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert [asked for asked in hub.ranges if asked.startswith(f"bytes={10 << 20}-")]
    assert (tmp_path / "model" / "LICENSE").read_bytes() == bytes(12_000_000)


def test_unknown_models_and_revisions_are_the_callers_fault(tmp_path: Path) -> None:
    with hub_server.serve(hub_server.Hub(GOLDEN)) as hub:
        unknown = export(hub.endpoint, tmp_path, tmp_path / "m", repository="acme/nothing")
        revision = export(hub.endpoint, tmp_path, tmp_path / "m", "--revision", "v9")
    assert (unknown.returncode, revision.returncode) == (2, 2)
    assert "neither a folder here nor a model on the hub" in unknown.stderr
    assert "no revision 'v9'" in revision.stderr


def test_a_hub_out_of_reach_is_one_sentence(tmp_path: Path) -> None:
    done = export("http://127.0.0.1:9", tmp_path, tmp_path / "m")
    assert done.returncode == 1 and "is no folder here" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def tensors_of(folder: Path, name: str = "model.safetensors") -> dict[str, np.ndarray]:
    """All tensors of one file as float32."""
    raw, found = (folder / name).read_bytes(), {}
    for key, entry in read_header(folder / name).items():
        some = bytearray(raw[entry.offset : entry.offset + entry.bytes])
        found[key] = to_float32(some, entry.dtype).reshape(entry.shape)
    return found


def published(tmp_path: Path) -> Path:
    """A model in shards, and beside it what repositories have too."""
    folder = shutil.copytree(GOLDEN, tmp_path / "source")
    tensors = tensors_of(folder)
    names = sorted(tensors)
    parts = {"model-1.safetensors": names[:9], "weights-2.safetensors": names[9:]}
    for file, some in parts.items():
        save_file({name: tensors[name] for name in some}, folder / file)
    weight_map = {name: file for file, some in parts.items() for name in some}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    (folder / "model.safetensors").rename(folder / "consolidated.safetensors")
    for name in ("model-9.safetensors", "pytorch_model.bin", "m.gguf", "model.onnx", "README.md"):
        (folder / name).write_bytes(bytes(9))
    return folder


def test_only_what_an_export_reads_is_downloaded(tmp_path: Path) -> None:
    """By the index: whatever its files are called, and no others that look like them."""
    with hub_server.serve(hub_server.Hub(published(tmp_path))) as hub:
        done = export(hub.endpoint, tmp_path / "home", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    weights = {"model-1.safetensors", "weights-2.safetensors"}
    settings = {"config.json", "generation_config.json", "tokenizer.json"}
    assert set(hub.fetched) == weights | settings | {"model.safetensors.index.json"}


def test_of_two_sets_of_weights_only_transformers_choice_is_downloaded(tmp_path: Path) -> None:
    folder = published(tmp_path)
    shutil.copyfile(GOLDEN / "model.safetensors", folder / "model.safetensors")
    with hub_server.serve(hub_server.Hub(folder)) as hub:
        done = export(hub.endpoint, tmp_path / "home", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert {name for name in hub.fetched if "safetensors" in name} == {"model.safetensors"}


def lora(folder: Path) -> None:
    (folder / "adapter_config.json").touch()


def gguf(folder: Path) -> None:
    for path in [*folder.glob("*.safetensors"), *folder.glob("*.index.json")]:
        path.unlink()


def other_settings(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"mup_scale": 2}))


def broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{}")


def lost_shard(folder: Path) -> None:
    (folder / "weights-2.safetensors").unlink()


def other_tensors(folder: Path) -> None:
    tensors = tensors_of(folder, "weights-2.safetensors")
    tensors["model.layers.0.more.weight"] = np.ones(100_000, np.float32)
    save_file(tensors, folder / "weights-2.safetensors")


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lora, "acme/tiny has adapter_config.json: it is a LoRA adapter"),
        (gguf, "acme/tiny has its weights only in m.gguf, which is GGUF"),
        (other_settings, "config.json: mup_scale is 2"),
        (broken_tokenizer, "tokenizer.json"),
        (lost_shard, "names weights-2.safetensors, which the repository does not have"),
        (other_tensors, "tensor 'model.layers.0.more.weight' does not belong to"),
    ],
)
def test_what_cannot_be_exported_is_refused_before_its_weights_are_downloaded(
    edit: Callable[[Path], None], sentence: str, tmp_path: Path
) -> None:
    folder = published(tmp_path)
    edit(folder)
    with hub_server.serve(hub_server.Hub(folder)) as hub:
        done = export(hub.endpoint, tmp_path / "home", tmp_path / "model")
    assert done.returncode == 2, done.stderr
    said = done.stderr.strip().splitlines()[-1]  # before it, what the download shows
    assert said.startswith("bramble export: ") and sentence in said, done.stderr
    assert not (tmp_path / "model").exists()
    assert not list((tmp_path / "home").rglob("snapshots/*/*.safetensors"))


def test_options_that_do_not_fit_are_refused_before_weights_are_downloaded(tmp_path: Path) -> None:
    with hub_server.serve(hub_server.Hub(GOLDEN)) as hub:
        done = export(hub.endpoint, tmp_path / "home", tmp_path / "m", "--quant", "int4-128")
    assert done.returncode == 2 and "int4-128 needs a multiple of 128 inputs" in done.stderr
    assert not list((tmp_path / "home").rglob("snapshots/*/*.safetensors"))

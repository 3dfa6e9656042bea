"""Downloads from a hub that runs here; the exporter is a process of its own, as users run it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from bramble.model import manifest as manifests

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
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr

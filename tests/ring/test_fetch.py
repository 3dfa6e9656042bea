"""Stages that begin with empty folders fetch their shards from the head's web process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bramble.commands.supervisor import Supervisor, python_command
from bramble.model import manifest as manifests

from tests.ring.conftest import RingMaker, free_ports, greedy
from tests.web.conftest import get_json

PROMPT = [5, 6, 7, 8]
TOKENS = 24


@contextmanager
def web(models: Path, head: str = "ipc:///nobody") -> Iterator[str]:
    """The address of a web process that serves the files of `models`."""
    lines: list[str] = []
    supervisor = Supervisor(
        lambda _, line: lines.append(line), lambda _, event: lines.append(event)
    )
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = ("bramble", "web", f"--listen={address}", f"--models={models}", f"--head={head}")
    try:
        supervisor.start("web", python_command(*command))
        for _ in range(200):
            try:
                get_json(f"http://{address}/healthz")
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://{address}/files"
    finally:
        supervisor.stop()


def files_below(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix() for path in found}


def test_stages_with_empty_folders_fetch_what_they_need_and_no_more(
    models: Path, tmp_path: Path, make_ring: RingMaker
) -> None:
    model = models / "llama3-float32"
    wanted = make_ring(model, 3).generate(greedy("whole", PROMPT, TOKENS))[0]
    nodes = [tmp_path / f"node-{i}" for i in range(3)]
    with web(models) as url:
        ring = make_ring(model, 3, nodes=nodes, files=url)
        assert ring.generate(greedy("fetched", PROMPT, TOKENS))[0] == wanted
    manifest = manifests.read(model)
    document = ring.client.status()
    for node, stage in zip(nodes, document["plan"]["rings"][0]["stages"], strict=True):
        parts = manifests.shard_parts(
            stage["start"], stage["stop"], stage["has_embed"], stage["has_lm_head"]
        )
        folder = node / f"{model.name}@{manifests.sha256(model)[:12]}"
        assert files_below(folder) == {"manifest.json", *manifest.part_files(parts)}

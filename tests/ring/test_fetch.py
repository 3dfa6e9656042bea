"""Stages that begin with empty folders fetch their shards from the head's web process."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from bramble.model import manifest as manifests
from bramble.model.share import Share
from bramble.model.store import Wanted

from tests.ring.conftest import Ring, RingMaker, greedy, running
from tests.web.file_server import Link, files_below, linked, serving

PROMPT = [5, 6, 7, 8]
TOKENS = 24
HEADERS = 1_000  # bytes of HTTP per answer, at most
SWALLOWED = 1 << 19  # what a killed client had not yet taken from its socket


@pytest.fixture
def link(models: Path) -> Iterator[Link]:
    with serving(models) as port, linked(Link(port)) as link:
        yield link


@pytest.fixture
def nodes(tmp_path: Path) -> list[Path]:
    return [tmp_path / f"node-{i}" for i in range(3)]


def fetched(node: Path, model: Path) -> Path:
    return node / f"{model.name}@{manifests.sha256(model)[:12]}"


def wait_until(ring: Ring, condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "\n".join(ring.lines[-30:])
        ring.supervisor.tend()
        time.sleep(0.02)


def reason(ring: Ring) -> str:
    try:
        return str(ring.client.status()["reason"])
    except Exception:  # noqa: BLE001  whatever keeps the head from answering
        return ""


def kill(ring: Ring, name: str) -> None:
    process = ring.child(name).process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    process.wait(5)


def on_its_way(node: Path) -> int:
    size = 0
    for path in node.rglob("*.partial"):
        with suppress(FileNotFoundError):  # it is whole by now
            size += path.stat().st_size
    return size


def test_stages_with_empty_folders_fetch_what_they_need_and_no_more(
    models: Path, nodes: list[Path], link: Link, make_ring: RingMaker
) -> None:
    model = models / "llama3-float32"
    wanted = make_ring(model, 3).generate(greedy("whole", PROMPT, TOKENS))[0]
    ring = make_ring(model, 3, nodes=nodes, files=link.url)
    assert ring.generate(greedy("fetched", PROMPT, TOKENS))[0] == wanted
    manifest = manifests.read(model)
    document = ring.client.status()
    for node, stage in zip(nodes, document["plan"]["rings"][0]["stages"], strict=True):
        ends = stage["has_embed"], stage["has_lm_head"]
        parts = Share.uncut(stage["start"], stage["stop"], *ends).part_names
        files = Wanted(model.name, "", parts).files(manifest)
        assert files_below(fetched(node, model)) == {"manifest.json", *files}
        assert ("tokenizer.json" in files) is stage["has_lm_head"]


def test_a_stage_killed_in_mid_download_goes_on_where_it_was(
    models: Path, nodes: list[Path], link: Link, tmp_path: Path
) -> None:
    model = models / "embedded-int8"
    link.bytes_s = 300e3
    with running(model, 3, tmp_path, nodes=nodes, files=link.url) as ring:
        wait_until(ring, lambda: on_its_way(nodes[1]) > 200_000)
        wait_until(ring, lambda: "stage 1 (stage-1): fetching embedded-int8: " in reason(ring))
        assert f" MB from {link.url}" in reason(ring)
        kill(ring, "stage-1")
        link.bytes_s = 1e9
        ring.wait_for("serving")
        assert len(ring.generate(greedy("after", PROMPT, TOKENS))[0]) == TOKENS
        assert ring.child("stage-1").restarts == 1
    whole = sum(path.stat().st_size for node in nodes for path in node.rglob("*.*"))
    assert link.passed <= whole + link.answers * HEADERS + SWALLOWED


def test_another_assignment_is_obeyed_while_files_are_on_their_way(
    models: Path, nodes: list[Path], link: Link, tmp_path: Path
) -> None:
    slow, here = models / "embedded-int8", models / "llama3-float32"
    for node in nodes:
        shutil.copytree(here, node / here.name)
    link.bytes_s = 100e3
    with running(slow, 3, tmp_path, nodes=nodes, files=link.url) as ring:
        wait_until(ring, lambda: on_its_way(nodes[2]) > 0)
        head = ring.child("head")
        head.command = [word.replace(str(slow), str(here)) for word in head.command]
        kill(ring, "head")
        ring.wait_for("serving", 20)
        assert len(ring.generate(greedy("after", PROMPT, TOKENS))[0]) == TOKENS
        assert all(ring.child(f"stage-{i}").restarts == 0 for i in range(3))
    assert not any((node / here.name / ".lock").exists() for node in nodes)


def test_a_damaged_shard_on_a_node_is_fetched_anew(
    models: Path, nodes: list[Path], link: Link, tmp_path: Path
) -> None:
    model = models / "llama3-float32"
    by_hand = nodes[0] / model.name
    shutil.copytree(model, by_hand)
    spoil(by_hand / "shards" / "layer-000.data")
    spoilt = (by_hand / "shards" / "layer-000.data").read_bytes()
    with running(model, 3, tmp_path, nodes=nodes, files=link.url) as ring:
        ring.wait_for("serving")
        assert (by_hand / "shards" / "layer-000.data").read_bytes() == spoilt
        shard = fetched(nodes[1], model) / "shards" / "layer-001.data"
        spoil(shard)
        kill(ring, "stage-1")
        intact = (model / "shards" / "layer-001.data").read_bytes()
        wait_until(ring, lambda: shard.read_bytes() == intact)
        ring.wait_for("serving")
        assert len(ring.generate(greedy("after", PROMPT, TOKENS))[0]) == TOKENS
        assert any("event=damaged" in line for line in ring.lines)


def test_a_head_without_the_model_is_told_so(
    models: Path, nodes: list[Path], tmp_path: Path
) -> None:
    model = models / "llama3-float32"
    (tmp_path / "empty").mkdir()
    with serving(tmp_path / "empty") as port:
        url = f"http://127.0.0.1:{port}/files"
        with running(model, 3, tmp_path, nodes=nodes, files=url) as ring:
            document = ring.wait_for("failed")
            assert f"{url} has no file {manifests.sha256(model)[:12]}" in str(document["reason"])
            for node in nodes:
                shutil.copytree(model, node / model.name)
            ring.wait_for("serving")


def spoil(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

"""While files are on their way, in a long step and while it idles, a stage does what it should."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from bramble.config import StageConfig
from bramble.model import manifest as manifests
from bramble.model.share import Share
from bramble.observe.notify import Notifier
from bramble.stage import memory, warming
from bramble.stage.service import Service
from bramble.wire.messages import (
    Assign,
    Beat,
    Failed,
    Hello,
    Member,
    Open,
    Ready,
    Sampling,
    Step,
    StepKind,
)
from bramble.wire.transport import Router, Transport

from tests.web.file_server import Link, linked, make_model, serving


@dataclass
class Stage:
    """A stage in this process, the head's end of its conversation, and what systemd is told."""

    service: Service
    head: Router
    systemd: socket.socket
    peer: bytes = b""
    heard: list[tuple[float, object]] = field(default_factory=list)
    told: list[tuple[float, str]] = field(default_factory=list)

    def turn_until(self, condition: Callable[[], bool], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, (self.heard[-3:], self.told[-5:])
            self.service.turn()
            now = time.monotonic()
            while (received := self.head.receive()) is not None:
                self.peer, message = received
                self.heard.append((now, message))
                if isinstance(message, Hello | Beat):
                    self.head.send(self.peer, Beat("head", 1))
            while (line := self._line()) is not None:
                self.told.append((now, line))

    def last(self, kind: type) -> object | None:
        return next((m for _, m in reversed(self.heard) if isinstance(m, kind)), None)

    def _line(self) -> str | None:
        try:
            return self.systemd.recv(4096).decode()
        except BlockingIOError:
            return None


def assign(sha256: str, epoch: int, start: int = 0, stop: int = 3) -> Assign:
    return Assign(
        plan_id="0" * 32,
        epoch=epoch,
        model="llama",
        manifest_sha256=sha256,
        stage=0,
        num_stages=1,
        share=Share.uncut(start, stop, has_embed=True, has_lm_head=True),
        next=(Member("", "tcp://127.0.0.1:9"),),
        rows=1,
        max_length=8,
        kv_bytes=1 << 20,
    )


@dataclass
class Slow:
    """An engine on whose every step eleven seconds pass."""

    engine: object

    def __getattr__(self, name: str) -> object:
        return getattr(self.engine, name)

    def run(self, step: Step, alive: Callable[[], None]) -> object:
        for _ in range(55):
            time.sleep(0.2)
            alive()
        return self.engine.run(step, alive)


def prefill(token_ids: list[int], number: int = 1) -> Step:
    return Step(
        plan_id=bytes(16),
        epoch=1,
        step=number,
        lane=0,
        kind=StepKind.PREFILL,
        is_sampled=False,
        is_check=False,
        first_row=0,
        sequences=np.zeros(1, np.uint64),
        positions=np.zeros(1, np.int32),
        token_ids=np.array([token_ids], np.int32),
    )


@pytest.fixture
def sha256(tmp_path: Path) -> str:
    return make_model(tmp_path / "head" / "llama")


@pytest.fixture
def link(tmp_path: Path, sha256: str) -> Iterator[Link]:
    with serving(tmp_path / "head") as port, linked(Link(port)) as link:
        yield link


def load(stage: Stage, folder: Path, tmp_path: Path) -> None:
    """Have the stage find the model on its disk, and be ready to serve it."""
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "llama").symlink_to(folder)
    stage.head.send(stage.peer, assign(manifests.sha256(folder), 1))
    stage.turn_until(lambda: isinstance(stage.last(Ready), Ready))


@pytest.fixture
def packing() -> bool:
    """Whether the stage keeps packed weights."""
    return False


@pytest.fixture
def stage(tmp_path: Path, link: Link, packing: bool) -> Iterator[Stage]:
    with Transport() as transport, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        head = transport.router("tcp://127.0.0.1:0")
        config = StageConfig(
            node="pi",
            head=head.endpoint,
            listen="tcp://127.0.0.1:0",
            models=tmp_path / "node",
            threads=1,
            files=link.url,
            packed=tmp_path / "packed" if packing else None,
        )
        service = Service(config, transport, Notifier(str(tmp_path / "notify")))
        made = Stage(service, head, systemd)
        made.turn_until(lambda: bool(made.peer))
        yield made
        service._drop()


def test_a_long_fetch_starves_neither_the_watchdog_nor_the_head(
    stage: Stage, link: Link, sha256: str
) -> None:
    link.bytes_s = 500e3
    stage.head.send(stage.peer, assign(sha256, 1))
    started = time.monotonic()
    stage.turn_until(lambda: time.monotonic() - started > 4)
    assert stage.last(Failed) is None
    for times in (
        [at for at, line in stage.told if line == "WATCHDOG=1"],
        [at for at, message in stage.heard if isinstance(message, Beat)],
    ):
        gaps = [b - a for a, b in zip([started, *times], [*times, time.monotonic()], strict=True)]
        assert max(gaps) < 2.0
    shares = [line for _, line in stage.told if line.startswith("STATUS=fetching llama: ")]
    assert len(set(shares)) >= 2 and f"% of 4.1 MB from {link.url}" in shares[-1]
    beat = stage.last(Beat)
    assert isinstance(beat, Beat) and f"STATUS={beat.stats['fetching']}" in shares


def test_a_step_of_eleven_seconds_starves_neither_the_watchdog_nor_the_head(
    stage: Stage, model: Callable[[str], Path], tmp_path: Path
) -> None:
    load(stage, model("llama3"), tmp_path)
    assert "STATUS=llama: loading layers 0 to 2" in [line for _, line in stage.told]
    stage.service._holding.engine = Slow(stage.service._engine)
    hello = stage.last(Hello)
    assert isinstance(hello, Hello)
    with Transport() as transport, closing(transport.push(hello.endpoint)) as steps:
        steps.send(prefill([3, 4, 5]))
        stage.heard.clear()
        stage.told.clear()
        stage.turn_until(lambda: len(stage.heard) > 5)
    beats = [message for _, message in stage.heard if isinstance(message, Beat)]
    assert len(beats) >= 8 and {beat.stats["idle_s"] for beat in beats[1:-1]} == {0.0}
    assert [line for _, line in stage.told].count("WATCHDOG=1") >= 8
    stage.heard.clear()
    started = time.monotonic()
    stage.turn_until(lambda: time.monotonic() - started > 3)
    assert stage.last(Hello) is None  # it does not hold the head for lost


def test_a_reply_that_waits_for_numba_starves_neither_the_watchdog_nor_the_head(
    stage: Stage,
    model: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(stage, model("llama3"), tmp_path)
    hello = stage.last(Hello)
    assert isinstance(hello, Hello)
    monkeypatch.setattr(warming, "compiled_nucleus", lambda: time.sleep(4))
    stage.service._warming = warming.Warming()
    opens = (Open(0, 3, Sampling(temperature=1.0, top_p=0.9)),)
    with Transport() as transport, closing(transport.push(hello.endpoint)) as steps:
        stage.heard.clear()
        stage.told.clear()
        steps.send(replace(prefill([3, 4, 5]), opens=opens, is_sampled=True))
        stage.turn_until(lambda: stage.service._last_step == 1)
    assert [line for _, line in stage.told].count("WATCHDOG=1") >= 3
    stage.turn_until(lambda: sum(isinstance(message, Beat) for _, message in stage.heard) >= 3)


def test_what_a_step_took_is_given_back_once_when_the_stage_idles(
    stage: Stage,
    model: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trims: list[float] = []
    monkeypatch.setattr(memory, "trim", lambda: trims.append(time.monotonic()))
    load(stage, model("llama3"), tmp_path)
    stage.turn_until(lambda: len(trims) >= 2)  # when it had loaded, and when it idled
    hello = stage.last(Hello)
    assert isinstance(hello, Hello)
    stage.heard.clear()
    stage.turn_until(lambda: len(stage.heard) > 2)
    trims.clear()
    with Transport() as transport, closing(transport.push(hello.endpoint)) as steps:
        for number in (1, 2):
            steps.send(prefill([3, 4, 5], number))
            stage.turn_until(lambda number=number: len(trims) == number)
            stage.heard.clear()
            stage.turn_until(lambda: len(stage.heard) > 2)
            assert len(trims) == number


def test_a_newer_assignment_ends_a_fetch_that_nobody_wants(
    stage: Stage, link: Link, sha256: str, tmp_path: Path
) -> None:
    link.bytes_s = 100e3
    stage.head.send(stage.peer, assign(sha256, 1))
    stage.turn_until(lambda: any(tmp_path.glob("node/*/shards/*.partial")))
    # Whose random bytes are no ONNX model: it is loaded, and refused, at once.
    stage.head.send(stage.peer, assign(make_model(tmp_path / "node" / "llama", seed=3), 2))
    link.bytes_s = 1e9
    stage.turn_until(lambda: isinstance(stage.last(Failed), Failed), 5)
    answer = stage.last(Failed)
    assert isinstance(answer, Failed) and answer.epoch == 2
    first = tmp_path / "node" / f"llama@{sha256[:12]}"
    # At the link's new speed the rest would be here in an instant; a part under way may still end.
    started = time.monotonic()
    stage.turn_until(lambda: time.monotonic() - started > 1)
    assert any(first.glob("shards/*.partial"))
    assert link.answers < 11  # the manifest and five parts of two files would be all


def test_the_same_assignment_of_a_new_epoch_goes_on_with_the_fetch(
    stage: Stage, link: Link, sha256: str, tmp_path: Path
) -> None:
    link.bytes_s = 2e6
    stage.head.send(stage.peer, assign(sha256, 1))
    stage.turn_until(lambda: any(tmp_path.glob("node/*/shards/*.partial")))
    stage.head.send(stage.peer, assign(sha256, 2))
    stage.turn_until(lambda: isinstance(stage.last(Failed), Failed))
    answer = stage.last(Failed)
    assert isinstance(answer, Failed) and answer.epoch == 2
    assert "onnxruntime cannot load it" in answer.reason  # random bytes, all of them here
    assert link.answers == 11  # the manifest and five parts of two files, each once


def test_what_cannot_be_fetched_is_answered_with_a_sentence(stage: Stage, link: Link) -> None:
    stage.head.send(stage.peer, assign("0" * 64, 1))
    stage.turn_until(lambda: isinstance(stage.last(Failed), Failed))
    answer = stage.last(Failed)
    assert isinstance(answer, Failed)
    assert answer.reason.startswith(f"{link.url} has no file 000000000000…; put the model's folder")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("packing", [True])
def test_a_stage_drops_a_shard_of_which_a_bit_has_changed_and_packs_it_anew(
    stage: Stage, model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = model("llama3")
    load(stage, folder, tmp_path)
    (copy,) = (tmp_path / "packed").rglob("layer-001.before-*.onnx")
    right = copy.read_bytes()
    flip(copy)
    stage.turn_until(lambda: isinstance(stage.last(Failed), Failed), 5)
    answer = stage.last(Failed)
    assert isinstance(answer, Failed) and (answer.epoch, answer.step) == (1, 0)
    assert answer.reason.startswith(f"{copy} has sha256 ")
    assert answer.reason.endswith("; it is made anew") and stage.service._engine is None
    stage.heard.clear()
    stage.head.send(stage.peer, assign(manifests.sha256(folder), 2))
    stage.turn_until(lambda: isinstance(stage.last(Ready), Ready))
    assert copy.read_bytes() == right


@pytest.mark.parametrize("packing", [True])
def test_a_stage_serves_on_and_says_so_where_only_an_original_is_damaged(
    stage: Stage, model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "originals" / "llama"
    shutil.copytree(model("llama3"), folder)
    load(stage, folder, tmp_path)
    original = tmp_path / "node" / "llama" / "shards" / "layer-001.data"
    right = original.read_bytes()

    def told() -> str:
        beat = stage.last(Beat)
        return str(beat.stats.get("damaged", "")) if isinstance(beat, Beat) else ""

    flip(original)
    stage.turn_until(lambda: bool(told()), 5)
    assert told().startswith(f"DAMAGED: {original} has sha256 ")
    assert stage.last(Failed) is None and stage.service._engine is not None
    original.write_bytes(right)
    stage.turn_until(lambda: not told(), 5)


@pytest.mark.parametrize("packing", [True])
def test_what_lies_damaged_beside_is_fetched_anew_while_the_stage_serves(
    stage: Stage, model: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "head" / "llama3-float32"
    shutil.copytree(model("llama3"), folder)
    wanted = replace(assign(manifests.sha256(folder), 1), model=folder.name)
    stage.head.send(stage.peer, wanted)
    stage.turn_until(lambda: isinstance(stage.last(Ready), Ready))
    (original,) = (tmp_path / "node").rglob("layer-001.data")
    right = original.read_bytes()
    flip(original)
    stage.turn_until(lambda: original.read_bytes() == right)
    stage.turn_until(lambda: not stage.service._holding.scrub.wrong(serving=False))
    assert stage.last(Failed) is None and stage.service._engine is not None


@pytest.mark.parametrize("packing", [True])
def test_what_lies_damaged_beside_and_at_the_head_is_not_asked_for_at_every_beat(
    stage: Stage, link: Link, model: Callable[[str], Path], tmp_path: Path
) -> None:
    """Nor does a fetch that failed keep a stage from what it can load."""
    folder = tmp_path / "originals" / "llama"
    shutil.copytree(model("llama3"), folder)
    load(stage, folder, tmp_path)
    flip(folder / "shards" / "layer-001.data")
    stage.turn_until(lambda: link.answers > 0)
    beats = len([message for _, message in stage.heard if isinstance(message, Beat)])
    stage.turn_until(
        lambda: len([one for _, one in stage.heard if isinstance(one, Beat)]) >= beats + 3
    )
    assert link.answers == 1
    stage.heard.clear()
    fewer = replace(assign(manifests.sha256(folder), 2), share=Share.uncut(0, 2, True, False))
    stage.head.send(stage.peer, fewer)
    stage.turn_until(lambda: isinstance(stage.last(Ready), Ready))
    assert stage.last(Failed) is None


def test_a_right_file_that_is_put_back_is_seen_at_the_next_assignment(
    stage: Stage, model: Callable[[str], Path], tmp_path: Path
) -> None:
    """The head has no such file: each repair fails, and none of them is the last."""
    folder = tmp_path / "originals" / "llama"
    shutil.copytree(model("llama3"), folder)
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "llama").symlink_to(folder)
    original = folder / "shards" / "layer-001.data"
    right = original.read_bytes()
    flip(original)
    for epoch in (1, 2):
        stage.heard.clear()
        stage.head.send(stage.peer, assign(manifests.sha256(folder), epoch))
        stage.turn_until(lambda: isinstance(stage.last(Failed), Failed))
        answer = stage.last(Failed)
        assert isinstance(answer, Failed) and "has no file" in answer.reason
    original.write_bytes(right)
    stage.head.send(stage.peer, assign(manifests.sha256(folder), 3))
    stage.turn_until(lambda: isinstance(stage.last(Ready), Ready))


def test_a_file_that_is_put_right_at_the_head_is_fetched(
    stage: Stage, link: Link, sha256: str, tmp_path: Path
) -> None:
    damaged = tmp_path / "head" / "llama" / "shards" / "layer-001.data"
    right = damaged.read_bytes()
    flip(damaged)
    stage.head.send(stage.peer, assign(sha256, 1))
    stage.turn_until(lambda: isinstance(stage.last(Failed), Failed))
    answer = stage.last(Failed)
    assert isinstance(answer, Failed) and "it is damaged there" in answer.reason
    damaged.write_bytes(right)
    stage.heard.clear()
    stage.head.send(stage.peer, assign(sha256, 2))
    stage.turn_until(lambda: isinstance(stage.last(Failed), Failed))
    answer = stage.last(Failed)
    # Random bytes, all of them here
    assert isinstance(answer, Failed) and "onnxruntime cannot load it" in answer.reason


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk: run as root")
def test_room_that_a_person_makes_on_a_full_disk_is_noticed(
    stage: Stage, sha256: str, tmp_path: Path
) -> None:
    disk = tmp_path / "node"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", disk], check=True)
    try:
        (disk / "films").write_bytes(bytes(80 << 20))
        stage.head.send(stage.peer, assign(sha256, 1))
        stage.turn_until(lambda: isinstance(stage.last(Failed), Failed))
        answer = stage.last(Failed)
        assert isinstance(answer, Failed) and "of disk" in answer.reason
        assert "make room" in answer.reason
        (disk / "films").unlink()
        stage.heard.clear()
        stage.head.send(stage.peer, assign(sha256, 2))
        stage.turn_until(lambda: isinstance(stage.last(Failed), Failed))
        answer = stage.last(Failed)
        # Random bytes, all of them here
        assert isinstance(answer, Failed) and "onnxruntime cannot load it" in answer.reason
    finally:
        stage.service._drop()
        subprocess.run(["umount", "-l", disk], check=True)

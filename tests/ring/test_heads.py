"""Two heads on the same stages: one answers, the other takes over, and nobody's tokens change."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from bramble.commands.supervisor import Supervisor, python_command
from bramble.head.zmq_client import ZmqClient
from bramble.wire import messages as m
from bramble.wire.transport import Channel, Transport

from tests.ports import free_ports
from tests.ring.conftest import Ring, greedy, make_keys

STAGES = ("s0", "s1")
TAKEN_OVER_S = 15.0  # from a head that falls silent
HANDED_OVER_S = 5.0  # from one that says that it leaves


class Heads:
    """Heads a and b on nodes of their own, and the stages that they share."""

    def __init__(self, transport: Transport, supervisor: Supervisor, folder: Path) -> None:
        self.doors = {name: f"ipc://{folder}/{name}.sock" for name in "ab"}
        self.transport, self.supervisor = transport, supervisor
        self.lines: list[str] = []
        self.rings = {
            name: Ring(ZmqClient(transport, door), supervisor, self.lines)
            for name, door in self.doors.items()
        }

    def signal(self, name: str, number: int) -> None:
        self.rings[name].child(name).process.send_signal(number)

    def wait_for(self, name: str, seconds: float) -> float:
        """Return after how long the head serves."""
        started = time.monotonic()
        client = ZmqClient(self.transport, self.doors[name])
        while time.monotonic() - started < seconds:
            if client.status()["state"] == "serving":
                return time.monotonic() - started
            time.sleep(0.05)
        raise AssertionError(f"{name}: {client.status()['reason']}\n" + "\n".join(self.lines[-30:]))


@contextmanager
def two_heads(model: Path, folder: Path) -> Iterator[Heads]:
    ports = iter(free_ports(6))
    controls = {name: f"tcp://127.0.0.1:{next(ports)}" for name in "ab"}
    keys = make_keys(folder, ["a", "b", *STAGES])
    with Transport() as transport, ExitStack() as stack:
        lines: list[str] = []
        supervisor = Supervisor(
            lambda name, line: lines.append(f"{name}: {line}"),
            lambda name, event: lines.append(f"{name}: {event}"),
        )
        stack.callback(supervisor.stop)
        made = Heads(transport, supervisor, folder)
        made.lines = lines
        for name in STAGES:
            flags = {
                "node": name,
                "head": controls["a"],
                "head-node": "a",
                "other-heads": f"b={controls['b']}",
                "term": folder / name / "term.json",
                "listen": f"tcp://127.0.0.1:{next(ports)}",
                "models": model.parent,
                "threads": 1,
                "memory-bytes": 1 << 29,
            }
            supervisor.start(name, command("stage", name, flags, keys))
        for name in "ab":
            flags = {
                "node": name,
                "heads": "a,b",
                "term": folder / name / "term.json",
                "model": model,
                "stages": ",".join(STAGES),
                "control": controls[name],
                "sampled": f"tcp://127.0.0.1:{next(ports)}",
                "client": made.doors[name],
            }
            supervisor.start(name, command("head", name, flags, keys))
        yield made


def command(part: str, node: str, flags: dict[str, object], keys: Path) -> list[str]:
    secret = keys.parent / f"{node}.key"
    words = [f"--{key}={value}" for key, value in flags.items()]
    return python_command("bramble", part, *words, f"--keys={keys}", f"--secret={secret}")


def heard(door: Channel, seconds: float) -> list[m.Message]:
    """All events of a request until it ends, or nothing comes for so long."""
    events: list[m.Message] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        event = door.receive()
        if event is None:
            time.sleep(0.005)
            continue
        events.append(event)
        deadline = time.monotonic() + seconds
        if isinstance(event, m.Done | m.Refused):
            break
    return events


def tokens_of(events: list[m.Message]) -> list[int]:
    return [token for event in events if isinstance(event, m.Delta) for token in event.token_ids]


@pytest.fixture
def heads(models: Path, tmp_path: Path) -> Iterator[Heads]:
    with two_heads(models / "embedded-int8", tmp_path) as made:
        made.rings["a"].wait_for("serving")
        yield made


def test_a_head_that_was_away_finds_another_in_its_place_and_answers_nothing(heads: Heads) -> None:
    prompt = [3, 4, 5, 6]
    wanted = heads.rings["a"].generate(greedy("calm", prompt, 400))[0]
    assert heads.rings["b"].client.status()["reason"] == (
        "the head on a has the role (term 1), this one stands by"
    )
    with closing(heads.transport.dealer(heads.doors["a"])) as door:
        door.send(greedy("cut", prompt, 400))
        while not isinstance(first := door.receive(), m.Delta):
            time.sleep(0.001)
        heads.signal("a", signal.SIGSTOP)
        assert heads.wait_for("b", TAKEN_OVER_S) < TAKEN_OVER_S
        assert heads.rings["b"].generate(greedy("again", prompt, 400))[0] == wanted
        before = heard(door, 0.5)
        assert not any(isinstance(event, m.Done) for event in before)

        door.send(greedy("cut", prompt, 400))  # as a client does that hears nothing
        heads.signal("a", signal.SIGCONT)
        after = heard(door, 5.0)
    # What it had computed while it had the role still arrives, or is told again
    told, again = tokens_of([first, *before]), tokens_of(after)
    late = next(k for k in range(len(again) + 1) if again[k:] == wanted[: len(again) - k])
    assert told + again[:late] == wanted[: len(told) + late]
    assert len(told) + late < len(wanted)
    assert isinstance(after[-1], m.Refused) and "the head on b has the role" in after[-1].message
    assert heads.rings["b"].generate(greedy("still", prompt, 400))[0] == wanted

    heads.signal("b", signal.SIGTERM)  # who leaves hands over
    assert heads.wait_for("a", TAKEN_OVER_S) < HANDED_OVER_S
    assert heads.rings["a"].generate(greedy("back", prompt, 400))[0] == wanted
    document = heads.rings["a"].client.status()
    assert document["term"] == 3

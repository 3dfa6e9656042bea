"""A hop whose connection drops with a step on it is noticed soon, and nobody's tokens change."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from bramble.config import HeadConfig, StageConfig
from bramble.head.candidacy import Candidacy
from bramble.head.control import Control, assign
from bramble.head.fleet import Fleet
from bramble.head.outcomes import Outcomes
from bramble.head.registry import Registry, StageEntry
from bramble.head.ring import Ring, Settings
from bramble.head.sequence import Sequence
from bramble.head.served_ring import ServedRing
from bramble.model import manifest as manifests
from bramble.stage.service import Service
from bramble.wire.fan import to_all
from bramble.wire.messages import Assign, Sampling
from bramble.wire.transport import Transport

NODES = ("a", "b")
SOON_S = 25.0  # a connection that dropped silently was noticed after 120


@dataclass
class Hop:
    """A wire from one stage to the next; once told to, it drops what comes, and the connection."""

    target: int = 0
    drops: int = 0  # connections still to drop, each with the next bytes that come on it
    dropped: int = 0
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def endpoint(self) -> str:
        return f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            client,
            socket.create_connection(("127.0.0.1", self.target)) as server,
        ):
            back = threading.Thread(target=self._pass, args=(server, client, False))
            back.start()
            self._pass(client, server, True)
            back.join()

    def _pass(self, source: socket.socket, target: socket.socket, is_forward: bool) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(1 << 16):
                if is_forward and self.drops and len(piece) > 64:  # a step, no ping
                    self.drops -= 1
                    self.dropped += 1
                    break
                target.sendall(piece)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


class Head:
    """A head's ring without its clients, driven by hand; stage a reaches stage b by `hop`."""

    def __init__(self, transport: Transport, model: Path, hop: Hop) -> None:
        self._router = transport.router("tcp://127.0.0.1:0")
        self._sampled = transport.pull("tcp://127.0.0.1:0")
        self._hop = hop
        manifest = manifests.read(model)
        self.ring = Ring(
            manifest,
            manifests.sha256(model),
            Registry(tuple((node,) for node in NODES)),
            Settings(4, 96, self._sampled.endpoint),
            0,
            partial(to_all, transport),
            self._tell,
        )
        config = HeadConfig(model, NODES, speculation="off")
        self.served = ServedRing(self.ring, config, count(1), lambda *_: None, time.monotonic())
        self._fleet = Fleet([self.served], 64)
        role = Candidacy("", 1, (), NODES, 0.0)
        self._control = Control(self._router, self._fleet, 1, Outcomes(), role)

    @property
    def endpoint(self) -> str:
        return self._router.endpoint

    def reply(self, prompts: list[list[int]], tokens: int) -> list[list[int]]:
        """The tokens of several sequences that are asked for at once."""
        asked = [
            Sequence(f"r{i}", list(prompt), len(prompt), len(prompt) + tokens, Sampling(seed=i))
            for i, prompt in enumerate(prompts)
        ]
        for sequence in asked:
            self._fleet.add(sequence)
        self.turn_until(lambda: all(len(s.tokens) == s.max_tokens for s in asked))
        return [sequence.tokens for sequence in asked]

    def turn_until(self, condition) -> None:
        deadline = time.monotonic() + SOON_S
        while not condition():
            now = time.monotonic()
            assert now < deadline, (self.ring.state, self.ring.reason)
            while (sampled := self._sampled.receive()) is not None:
                if (served := self._fleet.accept(sampled, now)) is not None:
                    served.take_in(sampled, now)
            self._control.read(now)
            self._fleet.pump(now)
            self._fleet.tick(now)
            time.sleep(0.002)

    def _tell(self, entry: StageEntry, message: Assign) -> None:
        if message.stage == 0:
            self._hop.target = int(message.next[0].endpoint.rpartition(":")[2])
            message = replace(
                message, next=(replace(message.next[0], endpoint=self._hop.endpoint),)
            )
        assign(self._router, entry, message)


@contextmanager
def stage(node: str, head: str, models: Path) -> Iterator[None]:
    """A stage in a thread of its own."""
    is_over = threading.Event()

    def serve() -> None:
        with Transport() as transport:
            config = StageConfig(
                node,
                head,
                listen="tcp://127.0.0.1:0",
                models=models,
                threads=1,
                memory_bytes=1 << 29,
            )
            service = Service(config, transport)
            while not is_over.is_set():
                service.turn()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture
def hop() -> Iterator[Hop]:
    hop = Hop()
    threading.Thread(target=hop.accept, daemon=True).start()
    yield hop
    hop.listener.shutdown(socket.SHUT_RDWR)
    hop.listener.close()


@pytest.fixture
def head(models: Path, hop: Hop) -> Iterator[Head]:
    model = models / "llama3-float32"
    with ExitStack() as stack:
        head = Head(stack.enter_context(Transport()), model, hop)
        for node in NODES:
            stack.enter_context(stage(node, head.endpoint, models))
        head.turn_until(lambda: head.served.is_serving)
        yield head


@pytest.mark.parametrize("streams", [1, 3])
def test_a_dropped_connection_costs_seconds_and_no_token(
    streams: int, head: Head, hop: Hop
) -> None:
    prompts = [[5 + i, 6, 7] for i in range(streams)]
    wanted, epoch = head.reply(prompts, 30), head.ring.epoch
    hop.drops = 1
    assert head.reply(prompts, 30) == wanted
    assert (hop.dropped, head.ring.epoch) == (1, epoch + 1)


def test_a_hop_that_carries_nothing_is_named(head: Head, hop: Hop) -> None:
    hop.drops = 1 << 30
    head.served.restart(time.monotonic())
    head.turn_until(lambda: "nothing gets from a to b: check" in str(head.ring.reason))
    hop.drops = 0
    head.turn_until(lambda: head.served.is_serving)
    assert head.ring.reason is None


def test_a_stage_that_was_only_silent_comes_back(head: Head) -> None:
    now = time.monotonic()
    assert head.ring.registry.lose_silent(now + 11)
    head.served.restart(now)
    assert not head.served.is_serving
    head.turn_until(lambda: head.served.is_serving)

"""A node that holds one key cannot say that it is another: to the head, or to a stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest
from bramble.config import HeadConfig, StageConfig
from bramble.head.ring import State
from bramble.head.service import Service as Head
from bramble.model import manifest as manifests
from bramble.model.share import Share
from bramble.stage.service import Service as Stage
from bramble.wire import messages as m
from bramble.wire.transport import (
    MAX_STEP_BYTES,
    Channel,
    Keyring,
    Router,
    Transport,
    new_secret,
    public_of,
)

SECRETS = {name: new_secret() for name in ("head", "a", "b")}
PUBLIC = {name: public_of(secret) for name, secret in SECRETS.items()}


class Node(Transport):
    """A transport with a node's own key, whose channels live as long as it does."""

    def __init__(self, name: str) -> None:
        super().__init__(Keyring(PUBLIC[name], SECRETS[name], lambda: PUBLIC))
        self._kept: list[Channel] = []

    def pull(self, endpoint: str, max_bytes: int = MAX_STEP_BYTES) -> Channel:
        self._kept.append(super().pull(endpoint, max_bytes))
        return self._kept[-1]

    def push(self, endpoint: str, node: str = "") -> Channel:
        self._kept.append(super().push(endpoint, node))
        return self._kept[-1]

    def dealer(self, endpoint: str, node: str = "") -> Channel:
        self._kept.append(super().dealer(endpoint, node))
        return self._kept[-1]

    def close(self) -> None:
        for channel in self._kept:
            channel.close()
        super().close()


@pytest.fixture
def transports() -> Iterator[dict[str, Transport]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(Node(name)) for name in SECRETS}


def until(turn: Callable[[], object], is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < deadline
        turn()


@pytest.fixture
def head(transports: dict[str, Transport], models: Path, tmp_path: Path) -> Iterator[Head]:
    config = HeadConfig(
        models / "llama3-float32",
        stages=("a", "b"),
        node="head",
        control="tcp://127.0.0.1:0",
        sampled="tcp://127.0.0.1:0",
        client=f"ipc://{tmp_path}/head.sock",
    )
    with closing(Head(config, transports["head"])) as made:
        yield made


def hello(node: str, endpoint: str) -> m.Hello:
    return m.Hello(node, 1, endpoint, "1", 1 << 29, "x86_64")


def test_the_head_hears_nobody_who_says_that_he_is_another(
    head: Head, transports: dict[str, Transport]
) -> None:
    forger = transports["b"].dealer(head.control_endpoint, "head")
    forged = [
        hello("a", "tcp://127.0.0.1:9"),
        m.Beat("a", 1),
        m.Ready("a", 1, "00" * 16, 1, 0.1, 1),
        m.Failed("a", 1, "00" * 16, 1, "no"),
    ]
    for message in forged:
        forger.send(message)
    counted = head._outcomes
    until(lambda: head.turn(time.monotonic()), lambda: counted.impostors == len(forged))
    registry = head._fleet.rings[0].ring.registry
    assert not registry.entries[0].is_present

    forger.send(hello("b", "tcp://127.0.0.1:9"))  # which it is
    transports["a"].dealer(head.control_endpoint, "head").send(hello("a", "tcp://127.0.0.1:9"))
    until(lambda: head.turn(time.monotonic()), lambda: registry.is_complete)
    assert counted.impostors == len(forged)


def test_the_head_takes_answers_of_the_last_stage_alone(
    head: Head, transports: dict[str, Transport]
) -> None:
    pulls = {name: transports[name].pull("tcp://127.0.0.1:0") for name in ("a", "b")}
    doors = {name: transports[name].dealer(head.control_endpoint, "head") for name in ("a", "b")}
    ring = head._fleet.rings[0].ring
    for name, door in doors.items():
        door.send(hello(name, pulls[name].endpoint))
    until(lambda: head.turn(time.monotonic()), lambda: ring.state is State.LOADING)
    assert ring.plan is not None
    for name, door in doors.items():
        door.send(m.Ready(name, 1, ring.plan.plan_id.hex(), ring.epoch, 0.1, 1))
    until(lambda: head.turn(time.monotonic()), lambda: ring.state is State.CHECKING)

    golden = head._model.manifest.golden
    assert golden is not None
    digests = [golden.digests[stage.stop] for stage in ring.plan.stages]
    answer = m.Sampled(
        plan_id=ring.plan.plan_id,
        epoch=ring.epoch,
        step=0,
        lane=0,
        kind=m.StepKind.PREFILL,
        sequences=np.zeros(1, np.uint64),
        positions=np.zeros(0, np.int32),
        token_ids=np.zeros(0, np.int32),
        logprobs=np.zeros(0, np.float32),
        top_ids=np.zeros((0, 0), np.int32),
        top_logprobs=np.zeros((0, 0), np.float32),
        traces=np.zeros((2, 3), np.uint32),
        digests=np.array(digests, np.float32),
    )
    endpoint = head._sampled.endpoint
    transports["a"].push(endpoint, "head").send(answer)
    until(lambda: head.turn(time.monotonic()), lambda: head._outcomes.impostors)
    assert ring.state is State.CHECKING
    transports["b"].push(endpoint, "head").send(answer)
    until(lambda: head.turn(time.monotonic()), lambda: ring.state is State.SERVING)
    assert head._outcomes.impostors == 1


def test_a_stage_takes_steps_of_the_one_before_it_alone(
    transports: dict[str, Transport], models: Path
) -> None:
    with closing(transports["head"].router("tcp://127.0.0.1:0")) as control:
        check_a_stage(control, transports, models)


def check_a_stage(control: Router, transports: dict[str, Transport], models: Path) -> None:
    sampled = transports["b"].pull("tcp://127.0.0.1:0")
    config = StageConfig(
        node="a",
        head=control.endpoint,
        head_node="head",
        listen="tcp://127.0.0.1:0",
        models=models,
        threads=1,
    )
    stage = Stage(config, transports["a"])
    stage._heads.greet()
    peers: list[bytes] = []

    def listen() -> bool:
        found = control.receive()
        peers.extend([found[0]] if found else [])
        return bool(peers)

    until(lambda: time.sleep(0.01), listen)
    control.send(peers[0], assign(models / "llama3-float32", sampled.endpoint))
    until(stage.turn, lambda: stage._engine is not None)
    forger, before = (transports[name].push(stage._steps.endpoint, "a") for name in ("b", "head"))
    forger.send(step(1))
    until(stage.turn, lambda: stage._work.refused)
    assert stage._last_step == -1
    before.send(step(1))
    until(stage.turn, lambda: stage._last_step == 1)
    assert stage._work.refused == 1


def assign(model: Path, next_endpoint: str) -> m.Assign:
    return m.Assign(
        plan_id="ab" * 16,
        epoch=1,
        model=model.name,
        manifest_sha256=manifests.sha256(model),
        stage=0,
        num_stages=2,
        share=Share.uncut(0, 1, has_embed=True, has_lm_head=False),
        next=(m.Member("b", next_endpoint),),
        rows=2,
        max_length=64,
        kv_bytes=1 << 24,
        previous_node="head",
        last_node="b",
    )


def step(number: int) -> m.Step:
    return m.Step(
        plan_id=bytes.fromhex("ab" * 16),
        epoch=1,
        step=number,
        lane=0,
        kind=m.StepKind.PREFILL,
        is_sampled=False,
        is_check=False,
        first_row=0,
        sequences=np.ones(1, np.uint64),
        positions=np.zeros(1, np.int32),
        token_ids=np.array([[5, 6, 7]], np.int32),
    )

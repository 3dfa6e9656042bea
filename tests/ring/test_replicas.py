"""Several rings under one head: the tokens of one, and no request lost with a ring."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from bramble.config import HeadConfig
from bramble.head.service import Service
from bramble.wire import messages as m
from bramble.wire.messages import Generate
from bramble.wire.transport import Transport

from tests.ring.conftest import Ring, RingMaker, greedy, sampled

TOKENS = 40
LONG = 100


def requests(tokens: int) -> list[Generate]:
    """Eight, of which four are sampled."""
    prompts = [[i + 3, 7 * i + 4, 5 * i + 9] * (i + 1) for i in range(8)]
    return [
        sampled(f"r{i}", prompt, tokens, seed=i) if i % 2 else greedy(f"r{i}", prompt, tokens)
        for i, prompt in enumerate(prompts)
    ]


def alone(model: Path, make_ring: RingMaker, tokens: int) -> list[list[int]]:
    ring = make_ring(model, 1)
    return [ring.generate(request)[0] for request in requests(tokens)]


def kill(ring: Ring, name: str) -> None:
    process = ring.child(name).process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)


def wait_for_running(ring: Ring) -> None:
    """Until each ring has its share of the requests."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if [each["requests"]["running"] for each in rings(ring)] == [4, 4]:
            return
    raise AssertionError("the requests are not spread over both rings")


def rings(ring: Ring) -> list[dict]:
    return ring.client.status()["plan"]["rings"]


def test_two_replicas_give_the_tokens_of_one_process(models: Path, make_ring: RingMaker) -> None:
    model = models / "llama3-float32"
    wanted = alone(model, make_ring, TOKENS)
    ring = make_ring(model, 1, replicas=2)
    ring.wait_for_rings(2)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda request: ring.generate(request)[0], requests(TOKENS)))
    assert got == wanted
    assert all(each["decode_steps_total"] for each in rings(ring)), "one ring did nothing"


def test_the_requests_of_a_killed_replica_go_on_at_the_other(
    models: Path, make_ring: RingMaker
) -> None:
    model = models / "llama3-float32"
    wanted = alone(model, make_ring, LONG)
    ring = make_ring(model, 1, replicas=2)
    ring.wait_for_rings(2)
    with ThreadPoolExecutor(8) as pool:
        replies = [pool.submit(ring.generate, request) for request in requests(LONG)]
        wait_for_running(ring)
        kill(ring, "stage-1")
        while not all(reply.done() for reply in replies):
            ring.supervisor.tend()
            time.sleep(0.02)
    assert [reply.result()[0] for reply in replies] == wanted
    assert sum("event=moved" in line for line in ring.lines) >= 4
    ring.wait_for_rings(2)
    assert ring.child("stage-1").restarts == 1
    assert [ring.generate(request)[0] for request in requests(LONG)[:2]] == wanted[:2]


def test_a_ring_that_is_gone_leaves_the_other_serving_and_is_named(
    models: Path, make_ring: RingMaker
) -> None:
    ring = make_ring(models / "llama3-float32", 2, replicas=2)
    ring.wait_for_rings(2)
    ring.supervisor.children.remove(victim := ring.child("stage-3"))
    assert victim.process is not None
    victim.process.kill()
    victim.process.wait()
    deadline = time.monotonic() + 20
    while ring.client.status()["reason"] is None and time.monotonic() < deadline:
        time.sleep(0.2)
    document = ring.client.status()
    assert document["state"] == "serving"
    assert "ring 1: stage 1 (stage-3): not heard of for over 10 s" in document["reason"]
    assert [each["state"] for each in document["plan"]["rings"]] == ["serving", "waiting"]
    assert len(ring.generate(greedy("x", [3, 4, 5], 10))[0]) == 10


@pytest.mark.parametrize(("objective", "first"), [("", range(3)), ("capacity", range(2))])
def test_the_objective_of_the_head_decides_how_layers_are_split(
    models: Path, tmp_path: Path, objective: str, first: range
) -> None:
    config = HeadConfig(
        models / "embedded-int8",
        stages=("a", "b"),
        control="tcp://127.0.0.1:0",
        sampled="tcp://127.0.0.1:0",
        client=f"ipc://{tmp_path}/head.sock",
        objective=objective,
    )
    with Transport() as transport, closing(Service(config, transport)) as head:
        stages = [transport.dealer(head.control_endpoint) for _ in config.stages]
        for node, memory, stage in zip("ab", (6 << 20, 12 << 20), stages, strict=True):
            stage.send(m.Hello(node, 1, "tcp://127.0.0.1:9", "1", memory, "x86_64"))
        assigns: list[m.Assign] = []
        deadline = time.monotonic() + 10
        while len(assigns) < 2 and time.monotonic() < deadline:
            head.turn(time.monotonic())
            received = [stage.receive() for stage in stages]
            assigns += [message for message in received if isinstance(message, m.Assign)]
    layers = [assign.share.layers for assign in assigns]
    assert sorted(layers, key=lambda each: each.start)[0] == first

"""A stage that several nodes serve is one stage to the head: it answers once, and fails whole."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from bramble.config import HeadConfig
from bramble.head.registry import LOST_S, Registry
from bramble.head.ring import STRANDED_S, Ring, Settings, State
from bramble.head.served_ring import ServedRing
from bramble.model.manifest import Golden, Manifest
from bramble.plan.planner import GIB
from bramble.stage.answer import sampled
from bramble.stage.engine import StepResult
from bramble.wire import messages as m

from tests.head.test_served_ring import Stage
from tests.plan.test_planner import manifest

GROUPS = (("a", "b"), ("c",), ("d", "e"))
NODES = tuple(node for group in GROUPS for node in group)
GOLDEN = Golden((5, 6, 7), (), (), ((1.0,) * 8,) * 7, 0.01)


def begun(stage: Stage, model: Manifest, form: str = "float32") -> ServedRing:
    registry = Registry(GROUPS)
    settings = Settings(6, 1024, "ipc://sampled", "pi1", exchange=form)
    ring = Ring(model, "sha", registry, settings, 1, stage.connect, stage.tell)
    config = HeadConfig(Path(), stages=("a+b", "c", "d+e"))
    served = ServedRing(ring, config, count(1), lambda *_: None, 0.0)
    for node in NODES:
        hello = m.Hello(node, 1, f"ipc://{node}", "1", 8 * GIB, "aarch64", exchange="tcp://x")
        registry.hello(node.encode(), hello, 0.0)
    served.restart(0.0, "a test")
    for node, assign in zip(NODES, stage.assigns[-len(NODES) :], strict=True):
        assert registry.ready(m.Ready(node, 1, assign.plan_id, assign.epoch, 0.1, 1), 0.0)
    served.begin(0.0)
    return served


def with_golden() -> Manifest:
    return replace(manifest(6), golden=GOLDEN)


def answer(step: m.Step, stages: int, wrong: int = -1, by: float = 9) -> m.Sampled:
    digests = np.ones((stages, 8), np.float32)
    if wrong >= 0:
        digests[wrong] = by
    made = sampled(step, StepResult(None), (0, 0, 0))
    return replace(made, traces=np.zeros((stages, 3), np.uint32), digests=digests)


def beat(served: ServedRing, node: str, now: float, last_step: int) -> None:
    stats = {"idle_s": 2 * STRANDED_S, "last_step": last_step}
    assert served.ring.registry.beat(node.encode(), m.Beat(node, 1, stats), now)


def test_each_member_is_told_and_the_lanes_are_those_of_stages() -> None:
    stage = Stage()
    served = begun(stage, manifest(6))
    assert served.is_serving
    assert [assign.rank for assign in stage.assigns] == [0, 1, 0, 0, 1]
    assert served.ring.registry.num_stages == 3
    assert served.ring.plan is not None and served.ring.plan.rows == 6


def test_one_digest_of_each_stage_is_judged() -> None:
    stage = Stage()
    served = begun(stage, with_golden())
    served.accept(answer(stage.steps[0], 3), 1.0)
    assert served.is_serving


@pytest.mark.parametrize(("form", "state"), [("float32", State.FAILED), ("q8", State.SERVING)])
def test_what_an_exchange_rounds_is_allowed_for(form: str, state: State) -> None:
    stage = Stage()
    served = begun(stage, with_golden(), form)
    served.accept(answer(stage.steps[0], 3, wrong=1, by=1.1), 1.0)
    assert served.ring.state is state


def test_all_members_of_a_stage_that_computes_amiss_are_suspected_and_no_other() -> None:
    stage = Stage()
    served = begun(stage, with_golden())
    served.accept(answer(stage.steps[0], 3, wrong=2), 1.0)
    assert served.ring.state is State.FAILED
    states = {entry.node: entry.state for entry in served.ring.registry.entries}
    assert states == {"a": "ready", "b": "ready", "c": "ready", "d": "failed", "e": "failed"}
    assert served.reason is not None and "stage 2, rank 1 (e): computes something" in served.reason
    served.tick(1.1)
    assert [assign.is_suspect for assign in stage.assigns[-5:]] == [False, False, False, True, True]


def test_the_loss_of_any_member_is_another_epoch() -> None:
    served = begun(Stage(), manifest(6))
    epoch = served.ring.epoch
    for node in NODES[:-1]:
        beat(served, node, LOST_S, 0)
    served.tick(LOST_S + 1)
    assert served.ring.registry.entry("e").state == "lost"
    assert served.ring.state is State.WAITING
    served.ring.registry.hello(
        b"e", m.Hello("e", 2, "ipc://e", "1", 8 * GIB, "aarch64", exchange="tcp://x"), LOST_S + 2
    )
    served.restart(LOST_S + 2, "it is back")
    assert served.ring.epoch == epoch + 1


def test_the_hop_to_the_member_that_a_step_did_not_reach_is_named() -> None:
    stage = Stage()
    served = begun(stage, with_golden())
    later = 3 * STRANDED_S
    for node in NODES:
        beat(served, node, later, 0 if node != "e" else -1)
    assert served.ring.has_lost_step(later)
    assert served.ring.reason is not None
    assert "nothing gets from c to e" in served.ring.reason


def test_a_step_that_all_ran_was_lost_on_the_way_to_the_head() -> None:
    served = begun(Stage(), with_golden())
    later = 3 * STRANDED_S
    for node in NODES:
        beat(served, node, later, 0)
    assert served.ring.has_lost_step(later)
    assert served.ring.reason is not None
    assert "nothing gets from d to the head" in served.ring.reason


def test_a_member_that_says_nothing_while_it_should_load_is_named_as_silent() -> None:
    stage = Stage()
    served = begun(stage, manifest(6))
    served.restart(1.0, "a member is gone")
    for node in NODES:
        beat(served, node, 2.0, -1)
    beat(served, "a", 3.0 + LOST_S, -1)
    assert not served.ring.registry.lose_silent(3.0 + LOST_S)  # it may be hashing a file
    told = served.ring.registry.problems()
    assert told[0] == "stage 0, rank 0 (a): loading its shard"
    assert told[1] == "stage 0, rank 1 (b): told to load its shard, not heard of for over 10 s"

"""A ring at work, its registry and scheduler real; its stage answers when the test says so."""

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from bramble.config import HeadConfig
from bramble.errors import BadInput
from bramble.head import sequence
from bramble.head.registry import LOST_LOADING_S, LOST_S, Registry, StageEntry
from bramble.head.ring import Ring, Sender, Settings, State
from bramble.head.sequence import Sequence
from bramble.head.served_ring import ServedRing
from bramble.plan.planner import GIB
from bramble.stage.answer import sampled
from bramble.stage.engine import StepResult
from bramble.wire import messages as m

from tests.plan.test_planner import manifest


@dataclass
class Stage:
    """What the head sends to its only stage."""

    assigns: list[m.Assign] = field(default_factory=list)
    steps: list[m.Step] = field(default_factory=list)
    refusal: BadInput | None = None

    def connect(self, members: tuple[m.Member, ...]) -> Sender:
        if self.refusal is not None:
            raise self.refusal
        return self

    def send(self, message: m.Message) -> None:
        assert isinstance(message, m.Step)
        self.steps.append(message)

    def tell(self, entry: StageEntry, assign: m.Assign) -> None:
        self.assigns.append(assign)


def begun(stage: Stage) -> ServedRing:
    """A ring of one stage that was assigned and is ready at 0 s."""
    registry = Registry((("a",),))
    settings = Settings(4, 1024, "ipc://sampled")
    ring = Ring(manifest(2), "sha", registry, settings, 1, stage.connect, stage.tell)
    served = ServedRing(ring, HeadConfig(Path(), stages=("a",)), count(1), lambda *_: None, 0.0)
    registry.hello(b"peer", m.Hello("a", 1, "ipc://a", "1", 8 * GIB, "aarch64"), 0.0)
    served.restart(0.0, "a test")
    assign = stage.assigns[-1]
    assert registry.ready(m.Ready("a", 1, assign.plan_id, assign.epoch, 0.1, 1), 0.0)
    served.begin(0.0)
    return served


@pytest.mark.parametrize(("for_cache", "stop"), [(False, 3), (True, 4)])
def test_layers_go_by_memory_where_that_was_asked_for(for_cache: bool, stop: int) -> None:
    stage, registry = Stage(), Registry((("a",), ("b",)))
    settings = Settings(16, 1 << 17, "ipc://sampled", for_cache=for_cache)
    ring = Ring(manifest(6), "sha", registry, settings, 1, stage.connect, stage.tell)
    for name, memory in (("a", 4 * GIB), ("b", 2 * GIB)):
        hello = m.Hello(name, 1, f"ipc://{name}", "1", memory, "aarch64")
        registry.hello(name.encode(), hello, 0.0)
    config = HeadConfig(Path(), stages=("a", "b"))
    ServedRing(ring, config, count(1), lambda *_: None, 0.0).restart(0.0, "a test")
    assert [assign.share.stop for assign in stage.assigns] == [stop, 6]


def answer(step: m.Step, tokens: list[int]) -> m.Sampled:
    return sampled(step, StepResult(None, np.array(tokens, np.int32)), (0, 0, 0))


def test_a_stage_that_is_silent_is_lost() -> None:
    served = begun(Stage())
    served.tick(LOST_S + 1)
    assert served.ring.registry.entries[0].state == "lost"


def test_a_first_stage_that_cannot_be_reached_fails_its_ring_and_not_the_head() -> None:
    served = begun(Stage(refusal=BadInput("no public key of node 'a'; known are none")))
    assert served.ring.state is State.FAILED
    assert served.reason is not None and "no public key of node 'a'" in served.reason


def test_a_stage_that_loads_may_take_a_while_but_not_for_ever() -> None:
    served = begun(Stage())
    entry = served.ring.registry.entries[0]
    entry.state = "loading"
    served.tick(LOST_S + 1)
    assert entry.state == "loading"
    served.tick(LOST_LOADING_S + 1)
    assert entry.state == "lost"


@pytest.mark.parametrize("tokens", [[], [5, 6]])
def test_an_answer_with_other_than_the_tokens_asked_for_begins_anew(tokens: list[int]) -> None:
    stage = Stage()
    served = begun(stage)
    request = Sequence("r", [3, 4, 5], 3, 9, m.Sampling())
    served.scheduler.add(request)
    served.pump(0.0)
    step, epoch = stage.steps[-1], served.ring.epoch
    assert served.accept(answer(step, tokens), 0.0)
    assert served.take_in(answer(step, tokens), 0.0) == []
    assert served.ring.epoch == epoch + 1
    assert (request.state, request.tokens) == (sequence.State.WAITING, [3, 4, 5])

"""A ring at work, its registry and scheduler real; its stage answers when the test says so."""

from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
from bramble.config import HeadConfig
from bramble.errors import BadInput
from bramble.head.registry import LOST_S, Registry, StageEntry
from bramble.head.ring import Ring, Sender, Settings, State
from bramble.head.served_ring import FIRST_STEP_S, ServedRing
from bramble.plan.planner import GIB
from bramble.wire import messages as m

from tests.head.test_scheduler import sequence
from tests.plan.test_planner import manifest


@dataclass
class Stage:
    """What the head sends to its only stage."""

    assigns: list[m.Assign] = field(default_factory=list)
    steps: list[m.Step] = field(default_factory=list)
    refusal: BadInput | None = None

    def connect(self, endpoint: str, node: str) -> Sender:
        if self.refusal is not None:
            raise self.refusal
        return self

    def send(self, message: m.Message) -> None:
        assert isinstance(message, m.Step)
        self.steps.append(message)

    def tell(self, entry: StageEntry, assign: m.Assign) -> None:
        self.assigns.append(assign)

    def answer(self, compute_us: int) -> m.Sampled:
        """The answer to the oldest step: token 7, if it is sampled."""
        step = self.steps.pop(0)
        n = len(step.sequences) if step.is_sampled else 0
        return m.Sampled(
            plan_id=step.plan_id,
            epoch=step.epoch,
            step=step.step,
            lane=step.lane,
            kind=step.kind,
            sequences=step.sequences,
            positions=np.zeros(n, np.int32),
            token_ids=np.full(n, 7, np.int32),
            logprobs=np.zeros(n, np.float32),
            top_ids=np.zeros((n, 0), np.int32),
            top_logprobs=np.zeros((n, 0), np.float32),
            traces=np.array([[0, compute_us, 0]], np.uint32),
            digests=np.zeros((0, 8), np.float32),
        )


def begun(stage: Stage) -> ServedRing:
    """A ring of one stage that was assigned and is ready at 0 s."""
    registry = Registry(("a",))
    settings = Settings(4, 1024, "ipc://sampled")
    ring = Ring(manifest(2), "sha", registry, settings, 1, stage.connect, stage.tell)
    served = ServedRing(ring, HeadConfig(Path(), stages=("a",)), count(1), lambda *_: None, 0.0)
    registry.hello(b"peer", m.Hello("a", 1, "ipc://a", "1", 8 * GIB, 4, "aarch64"), 0.0)
    served.restart(0.0)
    assign = stage.assigns[-1]
    assert registry.ready(m.Ready("a", 1, assign.plan_id, assign.epoch, 0.1, 1), 0.0)
    served.begin(0.0)
    return served


def test_a_stage_that_is_silent_without_a_step_is_lost() -> None:
    served = begun(Stage())
    served.tick(LOST_S + 1)
    assert served.ring.registry.stages[0].state == "lost"


def test_a_stage_at_its_first_long_step_is_not_taken_for_lost() -> None:
    served = begun(Stage())
    served.scheduler.add(sequence(list(range(128)), 200))
    served.pump(0.0)
    served.tick(LOST_S + 20)
    assert served.is_serving
    served.tick(LOST_S + FIRST_STEP_S + 1)
    assert served.ring.registry.stages[0].state == "lost"


def test_a_stage_may_be_silent_for_as_long_as_its_steps_take() -> None:
    stage = Stage()
    served = begun(stage)
    served.scheduler.add(sequence(list(range(128)), 200))
    served.pump(0.0)
    answer = stage.answer(20_000_000)  # a chunk of 128 tokens took 20 s
    assert served.accept(answer, 0.0)
    served.take_in(answer, 0.0)
    served.tick(LOST_S + 39)
    assert served.is_serving
    served.tick(LOST_S + 41)
    assert not served.is_serving


def test_a_first_stage_that_cannot_be_reached_fails_its_ring_and_not_the_head() -> None:
    served = begun(Stage(refusal=BadInput("no public key of node 'a'; known are none")))
    assert served.ring.state is State.FAILED
    assert served.reason is not None and "no public key of node 'a'" in served.reason

"""Whatever answers a step: it is the answer, or what is wrong with it is said."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bramble.head.answer import fault
from bramble.head.scheduler import Scheduler
from bramble.head.sequence import Sequence
from bramble.head.step_plan import StepPlan
from bramble.wire import messages as m
from bramble.wire.frames import pack, unpack

from tests.head.test_scheduler import limits, sequence

VOCABULARY, STAGES = 100, 2


def planned(kind: m.StepKind) -> StepPlan:
    """A step of two rows that wants logprobs of one; a VERIFY of one row with guesses."""
    scheduler = Scheduler(limits(num_stages=1, num_rows=2, is_guessing=kind is m.StepKind.VERIFY))
    asked = [sequence([9] * 20, 60) for _ in range(1 if kind is m.StepKind.VERIFY else 2)]
    asked[0].sampling = m.Sampling(top_logprobs=2)
    for each in asked:
        scheduler.add(each)
    while True:
        for plan in scheduler.schedule():
            if plan.kind is kind and len(plan.ids) == len(asked):
                return plan
            scheduler.complete(plan.number, [9] * len(plan.ids))


def answered(plan: StepPlan, **members: Any) -> m.Sampled:
    """What stages would say, but for `members`; as it comes over the wire."""
    positions = [p + len(ids) for p, ids in zip(plan.positions, plan.token_ids, strict=True)]
    if plan.kind is m.StepKind.VERIFY:
        positions = [plan.positions[0] + 1, plan.positions[0] + 2]
    n = len(positions)
    sampled = m.Sampled(
        plan_id=bytes(16),
        epoch=1,
        step=plan.number,
        lane=plan.lane,
        kind=plan.kind,
        sequences=np.array(plan.ids, np.uint64),
        positions=np.array(positions, np.int32),
        token_ids=np.full(n, 9, np.int32),
        logprobs=np.full(n, -0.5, np.float32),
        top_ids=np.array([[9, 8], [-1, -1]][:n], np.int32),
        top_logprobs=np.array([[-0.5, -1.5], [-np.inf, -np.inf]][:n], np.float32),
        traces=np.zeros((STAGES, 3), np.uint32),
        digests=np.zeros((0, 8), np.float32),
    )
    found = unpack(pack(replace(sampled, **members)))
    assert isinstance(found, m.Sampled)
    return found


@pytest.mark.parametrize("kind", [m.StepKind.DECODE, m.StepKind.VERIFY])
def test_an_answer_is_one(kind: m.StepKind) -> None:
    plan = planned(kind)
    assert fault(plan, answered(plan), STAGES, VOCABULARY) is None


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"token_ids": np.array([9, -1], np.int32)}, "token id -1, the model 0 to 99"),
        ({"token_ids": np.array([9, VOCABULARY], np.int32)}, "token id 100"),
        ({"positions": np.array([1, 2], np.int32)}, "other positions"),
        ({"sequences": np.array([1, 9], np.uint64)}, "other sequences"),
        ({"kind": m.StepKind.PREFILL}, "another kind"),
        ({"traces": np.zeros((0, 3), np.uint32)}, "0 stages are said to have run it"),
        ({"logprobs": np.array([np.nan, 0], np.float32)}, "logprob of it is not finite"),
        ({"top_ids": np.array([[9, VOCABULARY], [-1, -1]], np.int32)}, "one has id 100"),
        ({"top_ids": np.array([[9, -2], [-1, -1]], np.int32)}, "one has id -2"),
        ({"top_logprobs": np.full((2, 2), np.inf, np.float32)}, "likeliest tokens is not finite"),
        (
            {"top_ids": np.zeros((2, 1), np.int32), "top_logprobs": np.zeros((2, 1), np.float32)},
            "1 likeliest tokens, 2 were asked for",
        ),
    ],
)
def test_what_cannot_be_an_answer_is_told(members: dict[str, Any], reason: str) -> None:
    plan = planned(m.StepKind.DECODE)
    assert reason in str(fault(plan, answered(plan, **members), STAGES, VOCABULARY))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_tokens_is_no_answer(count: int) -> None:
    plan = planned(m.StepKind.DECODE)
    sampled = answered(plan)
    cut = {"token_ids": np.full(count, 9, np.int32)}  # as no frame would carry them
    assert f"{count} tokens were sampled" in str(
        fault(plan, replace(sampled, **cut), STAGES, VOCABULARY)
    )


def test_a_chunk_that_is_not_the_last_is_answered_by_no_token() -> None:
    scheduler = Scheduler(limits(num_stages=2, num_rows=2))
    scheduler.add(Sequence("r", [9] * 50, 50, 60))
    (plan, *_) = scheduler.schedule()
    assert not plan.is_sampled
    empty = np.zeros(0, np.int32)
    nothing = {"positions": empty, "token_ids": empty, "logprobs": np.zeros(0, np.float32)}
    none = {"top_ids": np.zeros((0, 0), np.int32), "top_logprobs": np.zeros((0, 0), np.float32)}
    assert fault(plan, answered(plan, **nothing, **none), STAGES, VOCABULARY) is None
    assert fault(plan, answered(plan), STAGES, VOCABULARY) is not None

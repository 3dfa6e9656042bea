"""A reply that is alone stays on one core, in all of the stage's threads; others have all cores."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from bramble.stage.core import THREADS, Core
from bramble.wire.messages import Step, StepKind

CORES = os.sched_getaffinity(0)
DECODE, PREFILL, VERIFY = StepKind.DECODE, StepKind.PREFILL, StepKind.VERIFY


def step(kind: StepKind, *sequences: int) -> Step:
    ids, positions = np.array(sequences, np.uint64), np.zeros(len(sequences), np.int32)
    tokens = np.zeros((len(sequences), 1 if kind is DECODE else 3), np.int32)
    return Step(b"", 1, 1, 0, kind, True, False, 0, ids, positions, tokens)


def cores_of_threads() -> list[set[int]]:
    return [os.sched_getaffinity(int(thread.name)) for thread in THREADS.iterdir()]


@pytest.mark.parametrize("number", [None, max(CORES) + 1])
def test_without_a_core_of_this_machine_the_kernel_decides(number: int | None) -> None:
    core = Core(number)
    for _ in range(3):
        core.follow(step(DECODE, 1))
    assert os.sched_getaffinity(0) == CORES


def test_a_reply_is_alone_from_its_second_step_in_a_row_on() -> None:
    assert len(CORES) > 1, "needs two cores"
    steps = [
        *((PREFILL, 1), (DECODE, 1), (DECODE, 1), (VERIFY, 1), (DECODE, 1)),  # alone
        *((DECODE, 2), (DECODE, 1), (DECODE, 2)),  # two, in a lane each
        *((DECODE, 2), (PREFILL, 3), (DECODE, 2), (DECODE, 2, 3)),  # another comes in
    ]
    over, one = threading.Event(), {min(CORES)}
    other = threading.Thread(target=over.wait)
    other.start()
    core, seen = Core(min(CORES)), []
    try:
        for kind, *sequences in steps:
            core.follow(step(kind, *sequences))
            seen.append([cores == one for cores in cores_of_threads()])
    finally:
        core.follow(step(PREFILL, 1))
        over.set()
        other.join()
    expected = [0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 0, 0]
    assert [set(each) for each in seen] == [{bool(each)} for each in expected]

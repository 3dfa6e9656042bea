"""What the last stage answers to a step."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bramble.stage.engine import StepResult
from bramble.wire import messages as m

_NO_POSITIONS = np.zeros(0, np.int32)


def is_of_one_token(step: m.Step) -> bool:
    """True if what follows may be foreseen; not of a request that is tried alone (WIRE.md)."""
    return step.kind is m.StepKind.DECODE and len(step.sequences) == 1 and not step.opens


def sampled(
    step: m.Step,
    result: StepResult,
    trace: tuple[int, int, int],
) -> m.Sampled:
    digest = [] if result.digest is None else [result.digest[None]]
    return m.Sampled(
        plan_id=step.plan_id,
        epoch=step.epoch,
        step=step.step,
        lane=step.lane,
        kind=step.kind,
        sequences=step.sequences,
        positions=_positions(step, len(result.token_ids)),
        token_ids=result.token_ids,
        logprobs=result.logprobs,
        top_ids=result.top_ids,
        top_logprobs=result.top_logprobs,
        traces=np.concatenate([step.traces, np.array([trace], np.uint32)]),
        digests=np.concatenate([step.digests, *digest]),
    )


def _positions(step: m.Step, sampled: int) -> NDArray[np.int32]:
    """Return where the sampled tokens stand: behind each row, or one behind another."""
    if step.kind is m.StepKind.VERIFY:
        first = int(step.positions[0]) + 1
        return np.arange(first, first + sampled, dtype=np.int32)
    return step.positions + step.token_ids.shape[1] if step.is_sampled else _NO_POSITIONS

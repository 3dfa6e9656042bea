"""What is wrong with a ring's answer to a step: whatever it says, it may end the epoch alone."""

from __future__ import annotations

import math

import numpy as np

from bramble.head.step_plan import StepPlan
from bramble.wire.messages import STUCK, UNREAD, Sampled, StepKind


def fault(plan: StepPlan, sampled: Sampled, num_stages: int, vocab_size: int) -> str | None:
    """Return in a sentence why `sampled` cannot be the answer to `plan`; None if it can."""
    num_sampled = len(sampled.token_ids)
    if not _is_count(plan, num_sampled):
        return f"{num_sampled} tokens were sampled"
    if sampled.kind is not plan.kind or tuple(sampled.sequences.tolist()) != plan.ids:
        return "it is of other sequences, or of another kind"
    if sampled.positions.tolist() != _positions(plan, num_sampled):
        return "its tokens are of other positions"
    if (wrong := _unknown(_tokens(plan, sampled), vocab_size)) is not None:
        return f"it has token id {wrong}, the model 0 to {vocab_size - 1}"
    if len(sampled.traces) != num_stages:
        return f"{len(sampled.traces)} stages are said to have run it, the ring has {num_stages}"
    return _logprob_fault(plan, sampled, vocab_size)


def _tokens(plan: StepPlan, sampled: Sampled) -> list[int]:
    """The sampled tokens, without what says that a grammar cannot go on."""
    token_ids: list[int] = sampled.token_ids.tolist()
    if plan.kind is StepKind.VERIFY:
        has_ended = bool(plan.sequences[0].grammar) and token_ids[-1] in (STUCK, UNREAD)
        return token_ids[:-1] if has_ended else token_ids
    return [
        token_id
        for token_id, sequence in zip(token_ids, plan.sequences, strict=False)
        if not (sequence.grammar and token_id in (STUCK, UNREAD))
    ]


def _is_count(plan: StepPlan, num_sampled: int) -> bool:
    if plan.kind is StepKind.VERIFY:
        return 0 < num_sampled <= len(plan.token_ids[0])
    return num_sampled == (len(plan.ids) if plan.is_sampled else 0)


def _positions(plan: StepPlan, num_sampled: int) -> list[int]:
    """Where sampled tokens stand: behind each row's last token; of a VERIFY one behind another."""
    if plan.kind is StepKind.VERIFY:
        return [plan.positions[0] + 1 + i for i in range(num_sampled)]
    ends = zip(plan.positions, plan.token_ids, strict=True)
    return [position + len(ids) for position, ids in ends][:num_sampled]


def _logprob_fault(plan: StepPlan, sampled: Sampled, vocab_size: int) -> str | None:
    wanted = max((each.sampling.top_logprobs for each in plan.sequences), default=-1)
    if wanted < 0 or not len(sampled.token_ids):
        return None
    if sampled.top_ids.shape[1] < wanted:
        return f"it has {sampled.top_ids.shape[1]} likeliest tokens, {wanted} were asked for"
    if not np.isfinite(sampled.logprobs).all():
        return "a logprob of it is not finite"
    named = sampled.top_ids != -1  # which stands where a row asked for fewer
    ids, logprobs = sampled.top_ids[named].tolist(), sampled.top_logprobs[named].tolist()
    if (wrong := _unknown(ids, vocab_size)) is not None:
        return f"of its likeliest tokens one has id {wrong}"
    if not all(map(math.isfinite, logprobs)):
        return "a logprob of its likeliest tokens is not finite"
    return None


def _unknown(token_ids: list[int], vocab_size: int) -> int | None:
    return next((each for each in token_ids if not 0 <= each < vocab_size), None)

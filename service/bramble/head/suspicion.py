"""Which request ends stages: those whose steps were under way are tried alone, one at a time.

When a stage ends, any sequence with a step under way may be why. Each of them is computed again,
and the positions that were under way go round the ring with nothing else beside them: as a step of
the same kind, for a token may be fatal in one kind alone. If they come back, the sequence is
cleared and goes on among the others. If a stage ends again, over the same positions, that sequence
is why, and is ended. So a request takes the ring down twice at most, and takes no other with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace

from bramble.head.sequence import Sequence, State
from bramble.head.step_plan import StepPlan
from bramble.wire.messages import StepKind

LONE_DEATHS = 3  # of stages under one request: it may be fatal in company, and so runs alone now
MAX_DEATHS = 10  # the same, whatever was under way of it: somebody is unlucky, or very sly


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Positions [start, stop) of a sequence were under way when a stage ended.

    is_decode  they were its newest token, in a step that decodes
    until      positions below this have to come back before the sequence is cleared
    """

    start: int
    stop: int
    is_decode: bool
    until: int

    def overlaps(self, other: Suspicion) -> bool:
        return self.start < other.stop and other.start < self.stop


def suspects(plans: Iterable[StepPlan]) -> dict[Sequence, Suspicion]:
    """Return what these steps had under way of sequences that still run; guesses not counted."""
    found: dict[Sequence, Suspicion] = {}
    for plan in plans:
        for index, sequence in enumerate(plan.sequences):
            if sequence.id != plan.ids[index] or sequence.state is State.FINISHED:
                continue
            start = plan.positions[index]
            stop = min(start + len(plan.token_ids[index]), len(sequence.tokens))
            if (before := found.get(sequence)) is not None:  # chunks follow one another
                start = min(start, before.start)
            found[sequence] = Suspicion(start, stop, not plan.kind.is_chunk, stop)
            if plan.kind is StepKind.VERIFY:
                sequence.may_guess = False  # the guesses are ours: the request may not need them
    return found


def is_guilty(sequence: Sequence, found: Suspicion, is_alone: bool) -> bool:
    """Note that a stage ended over a sequence; True if that proves it to be the reason.

    is_alone  nothing but its steps was under way
    """
    before = sequence.suspicion
    sequence.deaths += 1
    is_lone = sequence.deaths >= LONE_DEATHS
    sequence.suspicion = replace(found, until=sys.maxsize) if is_lone else found
    is_repeated = is_alone and before is not None and before.overlaps(found)
    return is_repeated or sequence.deaths >= MAX_DEATHS


def verdict(sequence: Sequence, reason: str) -> str:
    """Say why a sequence was ended."""
    return (
        f"a stage ended {sequence.deaths} times while it computed this request ({reason}); the "
        "request is not tried again, and other requests go on; do not send it again as it is"
    )

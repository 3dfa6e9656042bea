"""For how long a request came no further while nothing was held broken. Pure.

A stream's comments keep a client patient, and are no progress: a request that is held for good
looks well until somebody counts the seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from tests.chaos.history import Line

STALL_S = 30.0  # more than any recovery here takes
PROGRESS = ("asked", "accepted", "delta", "ended", "refused", "broke", "left")

Span = tuple[float, float]


def held(lines: Sequence[Line]) -> list[Span]:
    """When something was held broken: from each fault until it was let go."""
    until = {line["fault"]: line.at for line in lines if line.kind == "healed"}
    faults = [line for line in lines if line.kind == "fault"]
    return [(line.at, until.get(line["fault"], line.at)) for line in faults]


def stalls(lines: Sequence[Line], spans: Sequence[Span]) -> Iterator[tuple[float, Line, Line]]:
    """Yield the stretches of one request without progress: seconds, and the lines around them."""
    progress = [line for line in lines if line.kind in PROGRESS]
    for before, after in pairwise(progress):
        if after.at - before.at > STALL_S:
            broken_s = sum(
                max(0.0, min(stop, after.at) - max(start, before.at)) for start, stop in spans
            )
            if (stalled_s := after.at - before.at - broken_s) > STALL_S:
                yield stalled_s, before, after

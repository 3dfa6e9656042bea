"""Which ring a request goes to, and when one that waits goes to another: pure arithmetic.

A prompt's beginning that a ring still holds saves its prefill; every request that a ring has more
than another makes all of its replies slower. The one is weighed against the other, and bounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# What a ring's lead by one request is worth, in prompt tokens that need no prefill: decoding one
# more row for a reply's length costs about as much as prefilling so many tokens does.
TOKENS_PER_REQUEST = 32
MAX_LEAD = 4  # requests: with more than the least loaded ring has, no prefix is worth it


@dataclass(frozen=True, slots=True)
class Load:
    """What one ring has to do; `prefix_tokens` of the new prompt are in its cache."""

    num_running: int
    num_waiting: int
    num_rows: int
    prefix_tokens: int = 0

    @property
    def num_requests(self) -> int:
        return self.num_running + self.num_waiting

    @property
    def has_room(self) -> bool:
        """True if a request that came now would not wait."""
        return self.num_requests < self.num_rows


def route(loads: Sequence[Load]) -> int:
    """Return the index of the ring that a new request goes to; there is at least one.

    Never one where it would wait while another has room, nor one that has MAX_LEAD requests more
    than another. Among the rest the longest prefix wins that is worth the difference in load.
    """
    least = min(load.num_requests for load in loads)
    near = [i for i, load in enumerate(loads) if load.num_requests < least + MAX_LEAD]
    roomy = [i for i, load in enumerate(loads) if load.has_room]
    candidates = [i for i in near if i in roomy] or roomy or near
    return max(candidates, key=lambda i: (_worth(loads[i]), -loads[i].num_requests, -i))


def relief(loads: Sequence[Load]) -> tuple[int, int] | None:
    """Return (from, to) for a request that waits at one ring while another has room, or None.

    Moves come to an end: each fills a row, or, where it is memory that is short at both, makes the
    loads more alike.
    """
    idle = [i for i, load in enumerate(loads) if load.has_room and not load.num_waiting]
    busy = [i for i, load in enumerate(loads) if load.num_waiting]
    if not idle or not busy:
        return None
    to = min(idle, key=lambda i: loads[i].num_requests)
    source = max(busy, key=lambda i: (loads[i].num_waiting, loads[i].num_requests))
    is_full = loads[source].num_running >= loads[source].num_rows
    is_busier = loads[source].num_requests > loads[to].num_requests + 1
    return (source, to) if is_full or is_busier else None


def _worth(load: Load) -> int:
    return load.prefix_tokens - TOKENS_PER_REQUEST * load.num_requests

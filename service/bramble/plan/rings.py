"""Sets of rings, what they give, and what they are compared at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bramble.plan.exchange_time import Q8
from bramble.plan.planner import Plan
from bramble.plan.ring_speed import Ring

LATENCY, THROUGHPUT, CAPACITY = "latency", "throughput", "capacity"
OBJECTIVES = (LATENCY, THROUGHPUT, CAPACITY)
REPLY_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Work:
    """What the rings are compared at."""

    rows: int = 16  # sequences at once; also each ring's rows, as in plan_ring
    max_length: int = 8192  # tokens of one row; each ring lowers it to what it can hold
    prompt: int = 512  # tokens of a request, as `bramble bench` asks
    reply: int = REPLY_TOKENS
    kv_cache: str = "float32"  # one of manifest.CACHE_BYTES
    exchange: str = Q8  # of the numbers that a group's members send each other


@dataclass(frozen=True, slots=True)
class Figures:
    """What a set of rings gives."""

    request_s: float  # a request alone, from its prompt to its last token, on the slowest ring
    aggregate: float  # tokens/s of Work.rows sequences together
    cache_tokens: int  # of KV cache in the ring that holds the fewest


@dataclass(frozen=True, slots=True)
class Rings:
    """Rings over nodes of their own, in the nodes' order, and what they give."""

    plans: tuple[Plan, ...]
    speeds: tuple[Ring, ...]  # of the plans, in their order
    limits: tuple[int, ...]  # requests of Work's length that each ring's cache holds
    figures: Figures

    @property
    def has_groups(self) -> bool:
        return any(len(plan.members) > len(plan.stages) for plan in self.plans)

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(member.node for plan in self.plans for member in plan.members)


def aggregate(
    rings: tuple[Ring, ...], limits: tuple[int, ...], streams: int, context: float
) -> float:
    """Tokens per second of `streams` sequences together; those that find no room wait."""
    pairs = zip(rings, shares(rings, limits, streams, context), strict=True)
    return sum(ring.aggregate(share, context) for ring, share in pairs)


def shares(
    rings: tuple[Ring, ...], limits: tuple[int, ...], streams: int, context: float
) -> list[float]:
    """Sequences on each ring: by its own speed, and no more than its cache holds."""
    paces = [ring.aggregate(streams, context) for ring in rings]
    wanted = [streams * pace / sum(paces) for pace in paces]
    return [min(share, limit) for share, limit in zip(wanted, limits, strict=True)]


def keys(objective: str) -> list[Callable[[Figures], float]]:
    """Figures to be as large as can be, the first before the second."""
    keys: dict[str, Callable[[Figures], float]] = {
        LATENCY: lambda figures: 1 / figures.request_s,
        THROUGHPUT: lambda figures: figures.aggregate,
        CAPACITY: lambda figures: figures.cache_tokens,
    }
    return [keys[objective], *(key for name, key in keys.items() if name != objective)]

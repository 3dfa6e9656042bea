"""What was measured: samples by contender and quantity, their spread, and ratios of two of them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

UNITS = {
    "decode": "tokens/s",
    "prefill": "tokens/s",
    "streams": "tokens/s",
    "plain": "tokens/s",
    "guessed": "tokens/s",
    "first": "ms",
    "turn": "ms",
    "restart": "s",
    "load": "s",
    "resident": "MiB",
    "shards+kv": "MiB",
    "bandwidth": "GB/s",
    "token": "ms",
    "steps": "per token",
}


@dataclass(frozen=True, slots=True)
class Spread:
    """Of the samples of one quantity."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        return cls(statistics.median(samples), min(samples), max(samples), len(samples))


@dataclass(slots=True)
class Samples:
    """contender → quantity → what was measured, in the order of measuring."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, contender: str, quantity: str, *found: float) -> None:
        self.values.setdefault(contender, {}).setdefault(quantity, []).extend(found)

    def get(self, contender: str, quantity: str) -> list[float]:
        """Empty where nothing was measured."""
        return self.values.get(contender, {}).get(quantity, [])

    def spread(self, contender: str, quantity: str) -> Spread | None:
        found = self.get(contender, quantity)
        return Spread.of(found) if found else None

    def best(self, contender: str, quantities: Sequence[str]) -> str | None:
        """The quantity with the highest median, None if none was measured."""
        known = [name for name in quantities if self.get(contender, name)]
        return max(
            known, key=lambda name: statistics.median(self.get(contender, name)), default=None
        )


def paired(upper: Sequence[float], lower: Sequence[float]) -> list[float]:
    """Divide samples that were taken next to each other, so that a slow minute cancels out.

    Where one side was measured more often in a round, both stand with their medians.
    """
    if len(upper) == len(lower):
        return [a / b for a, b in zip(upper, lower, strict=True)]
    return [statistics.median(upper) / statistics.median(lower)]


def unit(quantity: str) -> str:
    """The unit of a quantity such as "streams 4": its first word decides."""
    return UNITS[quantity.split()[0]]

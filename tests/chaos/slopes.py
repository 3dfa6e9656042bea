"""Whether what a process holds grows: a line through its samples, and how sure it is. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.history import Line

WARM_UP_S = 60.0  # of a life, in which caches fill
FEWEST = 6  # samples behind that


@dataclass(frozen=True, slots=True)
class Slope:
    """Per minute, with the standard error of the fit."""

    rate: float
    error: float

    def __str__(self) -> str:
        return f"{self.rate:+.2f} ± {self.error:.2f}"


def slope(life: Sequence[Line], member: str) -> Slope | None:
    """Fit one process's samples of a member; None if it lived too short for a word on that."""
    late = [line for line in life if line.at - life[0].at >= WARM_UP_S]
    if len(late) < FEWEST:
        return None
    minutes = [line.at / 60 for line in late]
    values = [float(line[member]) for line in late]
    mean_x, mean_y = sum(minutes) / len(late), sum(values) / len(late)
    spread = sum((x - mean_x) ** 2 for x in minutes)
    rate = sum((x - mean_x) * (y - mean_y) for x, y in zip(minutes, values, strict=True)) / spread
    rest = sum(
        (y - mean_y - rate * (x - mean_x)) ** 2 for x, y in zip(minutes, values, strict=True)
    )
    return Slope(rate, math.sqrt(rest / (len(late) - 2) / spread))

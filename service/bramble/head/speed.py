"""Tokens per second over the last seconds, and what a token's way costs at each stage."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WINDOW_S = 10.0
SMOOTHING = 0.1  # weight of the newest step in a stage's averages
SHORTEST_S = 0.1  # of less nobody can tell a speed


class Answered(NamedTuple):
    """A step that came back, and when the ring began to have only it and later ones to do."""

    began: float
    ended: float
    decode_tokens: int
    prefill_tokens: int


class Speed:
    def __init__(self) -> None:
        self.decode_tokens = 0
        self.prefill_tokens = 0
        self.steps = 0
        self._recent: deque[Answered] = deque()
        self._began: float | None = None  # None while no step is under way
        self.decode_steps = 0  # with the same stages: a change of their number begins anew
        self._traces: NDArray[np.float64] = np.zeros((0, 3))
        self._totals: NDArray[np.float64] = np.zeros((0, 3))

    def begin(self, now: float) -> None:
        """A step is on its way."""
        if self._began is None:
            self._began = now

    def rest(self) -> None:
        """No step is on its way."""
        self._began = None

    def count(self, now: float, decode_tokens: int, prefill_tokens: int) -> None:
        self.steps += 1
        self.decode_tokens += decode_tokens
        self.prefill_tokens += prefill_tokens
        began = now if self._began is None else self._began
        self._recent.append(Answered(began, now, decode_tokens, prefill_tokens))
        self._began = now
        self._forget(now)

    def trace(self, traces: NDArray[np.uint32]) -> None:
        """Take in a decode step's µs (stages, 3): waiting, compute, Python and wire."""
        if self._traces.shape != traces.shape:
            self._traces = traces.astype(np.float64)
            self._totals, self.decode_steps = np.zeros(traces.shape), 0
        self.decode_steps += 1
        self._totals += traces
        self._traces += SMOOTHING * (traces - self._traces)

    def stage_ms(self, stage: int) -> tuple[float, float, float] | None:
        """Return (waiting, compute, Python and wire) of a decode step, or None before the first."""
        if stage >= len(self._traces):
            return None
        waiting, compute, python = (self._traces[stage] / 1000).round(3).tolist()
        return waiting, compute, python

    def stage_totals_ms(self, stage: int) -> tuple[float, float] | None:
        """Return (compute, Python and wire) summed over all `decode_steps`."""
        if stage >= len(self._totals):
            return None
        _, compute, python = (self._totals[stage] / 1000).round(3).tolist()
        return compute, python

    def per_second(self, now: float) -> tuple[float, float]:
        """Return (decode, prefill) tokens per second over the last WINDOW_S seconds.

        While the ring works, of the time that the answered steps took: a large chunk of a prompt
        may take longer than WINDOW_S, and its speed is the newest one known until it is back.
        """
        self._forget(now)
        if not self._recent:
            return 0.0, 0.0
        if self._began is None:
            span = now - self._recent[0].began
        else:
            span = sum(step.ended - step.began for step in self._recent)
        decode = sum(step.decode_tokens for step in self._recent)
        prefill = sum(step.prefill_tokens for step in self._recent)
        return decode / max(span, SHORTEST_S), prefill / max(span, SHORTEST_S)

    def _forget(self, now: float) -> None:
        num_kept = 0 if self._began is None else 1
        while len(self._recent) > num_kept and now - self._recent[0].ended > WINDOW_S:
            self._recent.popleft()

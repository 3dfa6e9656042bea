"""Tokens per second over the last seconds, and what a token's way costs at each stage."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

WINDOW_S = 10.0
SMOOTHING = 0.1  # weight of the newest step in a stage's averages


class Speed:
    def __init__(self) -> None:
        self.decode_tokens = 0
        self.prefill_tokens = 0
        self.steps = 0
        self._recent: deque[tuple[float, int, int]] = deque()
        self.decode_steps = 0  # with the same stages: a change of their number begins anew
        self._traces: NDArray[np.float64] = np.zeros((0, 3))
        self._totals: NDArray[np.float64] = np.zeros((0, 3))

    def count(self, now: float, decode_tokens: int, prefill_tokens: int) -> None:
        self.steps += 1
        self.decode_tokens += decode_tokens
        self.prefill_tokens += prefill_tokens
        self._recent.append((now, decode_tokens, prefill_tokens))
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
        """Return (decode, prefill) tokens per second over the last WINDOW_S seconds of work."""
        self._forget(now)
        if not self._recent:
            return 0.0, 0.0
        span = max(now - self._recent[0][0], 1.0)
        decode = sum(d for _, d, _ in self._recent)
        prefill = sum(p for _, _, p in self._recent)
        return decode / span, prefill / span

    def _forget(self, now: float) -> None:
        while self._recent and now - self._recent[0][0] > WINDOW_S:
            self._recent.popleft()

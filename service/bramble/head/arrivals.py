"""In which order requests are served: by when they were first accepted, whichever head that was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator


class Arrivals(Iterator[int]):
    """Numbers that only rise: µs since 1970, so that the order outlives a head."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._last = 0

    def __next__(self) -> int:
        """Return the present, or the least number above the last one where the clock went back."""
        self._last = max(self._last + 1, self._clock_ns() // 1000)
        return self._last

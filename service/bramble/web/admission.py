"""How many completions may be open at once, so that threads remain for probes and pages."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bramble.errors import QueueFull

RESERVED_THREADS = 16  # for /healthz, /status and the pages while completions hold the others


class Admission:
    def __init__(self, threads: int) -> None:
        self._limit = max(1, threads - RESERVED_THREADS)
        self._free = threading.BoundedSemaphore(self._limit)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one place. Raises QueueFull at once when there is none."""
        if not self._free.acquire(blocking=False):
            raise QueueFull(f"{self._limit} completions are open already; retry later")
        try:
            yield
        finally:
            self._free.release()

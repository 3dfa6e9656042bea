"""Tokenizes prompts beside the service loop, so that a long one does not hold up the ring."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Preparer(Generic[Result]):
    """Runs jobs in order in one thread; `bell` can be read when a result waits."""

    def __init__(self) -> None:
        self.bell, self._ring = socket.socketpair()
        self.bell.setblocking(False)
        self._pool = ThreadPoolExecutor(1, "prepare")
        self._done: SimpleQueue[Future[Result]] = SimpleQueue()

    def submit(self, job: Callable[[], Result]) -> None:
        self._pool.submit(job).add_done_callback(self._finished)

    def take(self) -> Result | None:
        """Return the next finished job's result, or None; raises what the job raised."""
        self._silence()
        try:
            return self._done.get_nowait().result()
        except Empty:
            return None

    def _silence(self) -> None:
        """Forget what has rung; a bell behind its result wakes the loop for naught, no more."""
        with contextlib.suppress(BlockingIOError):
            self.bell.recv(4096)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        self.bell.close()
        self._ring.close()

    def _finished(self, future: Future[Result]) -> None:
        self._done.put(future)
        self._ring.send(b"x")

"""Threads for as many requests as there are at once; one that has nothing to do ends after a while.

The standard library's pool keeps each thread that it ever started.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Any

IDLE_S = 3.0


class Threads:
    """`max_threads` at most; what is more waits in the order in which it came."""

    def __init__(self, max_threads: int, name: str) -> None:
        self._max_threads = max_threads
        self._name = name
        self._jobs: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._changed = Condition()
        self._num_threads = 0
        self._num_idle = 0

    def submit(self, run: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have `run` called with `arguments` by a thread."""
        future: Future[Any] = Future()
        with self._changed:
            self._jobs.append((future, run, arguments))
            if self._num_idle < len(self._jobs) and self._num_threads < self._max_threads:
                self._num_threads += 1
                Thread(target=self._work, name=self._name, daemon=True).start()
            self._changed.notify()
        return future

    def shutdown(self, wait: bool = False) -> None:
        """gunicorn says so at its end; daemon threads end with the process."""

    def _work(self) -> None:
        while (job := self._next()) is not None:
            future, run, arguments = job
            try:
                future.set_result(run(*arguments))
            except BaseException as error:  # noqa: BLE001  # whoever asks for the result gets it
                future.set_exception(error)

    def _next(self) -> tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None:
        with self._changed:
            self._num_idle += 1
            is_asked = self._changed.wait_for(lambda: bool(self._jobs), IDLE_S)
            self._num_idle -= 1
            if is_asked:
                return self._jobs.popleft()
            self._num_threads -= 1
            return None

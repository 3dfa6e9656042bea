"""Tokenizes prompts beside the service loop: a long one delays neither the ring nor short ones."""

from __future__ import annotations

import contextlib
import heapq
import socket
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Condition, Thread
from typing import Generic, TypeVar

Result = TypeVar("Result")

SHORT_BYTES = 1 << 15  # of text: tokenized in 40 ms on a Pi 5, which nobody feels
AGEING_BYTES_S = 100_000  # a long job counts as shorter by so much for each second that it waited


@dataclass(slots=True, order=True)
class Job(Generic[Result]):
    """Something to be done. Of two, the one of lower rank comes first, or else the older one."""

    rank: float  # bytes: its own, and those that later jobs have to be shorter by
    number: int  # in the order of submission
    run: Callable[[], Result] | None = field(compare=False)  # None once it is dropped


class Preparer(Generic[Result]):
    """Runs jobs in two threads: one for short ones, in order, and one for long ones.

    `bell` can be read when a result waits.
    """

    def __init__(self) -> None:
        self.bell, self._ring = socket.socketpair()
        self.bell.setblocking(False)
        self._ring.setblocking(False)
        self._done: SimpleQueue[Future[Result]] = SimpleQueue()
        self._changed = Condition()  # guards what follows
        self._short: list[Job[Result]] = []  # heaps
        self._long: list[Job[Result]] = []
        self._is_closed = False
        self._num_jobs = 0
        self._threads = [
            Thread(target=self._work, args=(self._short,), name="prepare-short"),
            Thread(target=self._work, args=(self._long,), name="prepare-long"),
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, run: Callable[[], Result], num_bytes: int = 0, at: float = 0.0) -> Job[Result]:
        """Queue a job that reads `num_bytes` of text and was asked for at `at`, in seconds."""
        is_long = num_bytes > SHORT_BYTES
        with self._changed:
            self._num_jobs += 1
            job = Job(num_bytes + AGEING_BYTES_S * at if is_long else 0.0, self._num_jobs, run)
            heapq.heappush(self._long if is_long else self._short, job)
            self._changed.notify_all()
        return job

    def drop(self, job: Job[Result]) -> None:
        """Never begin a job whose result nobody wants. One that is under way goes on."""
        with self._changed:
            job.run = None  # and what it holds

    def take(self) -> Result | None:
        """Return the next finished job's result, or None; raises what the job raised."""
        self._silence()
        try:
            return self._done.get_nowait().result()
        except Empty:
            return None

    def close(self) -> None:
        """Wait for the jobs under way; the others are not begun."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self.bell.close()
        self._ring.close()

    def _silence(self) -> None:
        """Forget what has rung; a bell behind its result wakes the loop for naught, no more."""
        with contextlib.suppress(BlockingIOError):
            self.bell.recv(4096)

    def _work(self, jobs: list[Job[Result]]) -> None:
        while (run := self._next(jobs)) is not None:
            future: Future[Result] = Future()
            try:
                future.set_result(run())
            except BaseException as error:  # noqa: BLE001  raised again by whoever takes it
                future.set_exception(error)
            self._done.put(future)
            with contextlib.suppress(BlockingIOError):  # it rings already
                self._ring.send(b"x")

    def _next(self, jobs: list[Job[Result]]) -> Callable[[], Result] | None:
        """Wait for the job to do now. None once there is to be no more."""
        with self._changed:
            while not self._is_closed:
                if not jobs:
                    self._changed.wait()
                elif (run := heapq.heappop(jobs).run) is not None:
                    return run
            return None

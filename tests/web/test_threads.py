"""Threads come with the work and go when there is none."""

from __future__ import annotations

import threading
import time

import pytest
from bramble.web import threads
from bramble.web.threads import Threads


def count(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_there_are_as_many_as_jobs_at_once_and_no_more_than_allowed() -> None:
    pool, gate = Threads(3, "busy"), threading.Event()
    futures = [pool.submit(gate.wait, 10) for _ in range(5)]
    assert count("busy") == 3
    gate.set()
    assert [future.result(10) for future in futures] == [True] * 5


def test_one_thread_does_what_comes_in_turn() -> None:
    pool = Threads(3, "lone")
    for number in range(20):
        assert pool.submit(abs, -number).result(10) == number
        time.sleep(0.002)  # until it is idle again
    assert count("lone") <= 2


def test_what_a_job_raises_is_raised_to_whoever_asks() -> None:
    with pytest.raises(ZeroDivisionError):
        Threads(1, "fails").submit(divmod, 1, 0).result(10)


def test_idle_threads_end() -> None:
    pool = Threads(2, "idle")
    pool.submit(abs, 1).result(10)
    assert count("idle") == 1
    end = time.monotonic() + threads.IDLE_S + 5
    while count("idle") and time.monotonic() < end:
        time.sleep(0.05)
    assert count("idle") == 0
    assert pool.submit(abs, -2).result(10) == 2

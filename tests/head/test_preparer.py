"""Jobs beside the loop: none lost, short ones in order, and never behind long ones."""

import select
import time
from collections.abc import Callable, Iterator
from threading import Event

import pytest
from bramble.head.preparer import SHORT_BYTES, Preparer

LONG = SHORT_BYTES + 1


@pytest.fixture
def preparer() -> Iterator[Preparer[str]]:
    made: Preparer[str] = Preparer()
    yield made
    made.close()


def take(preparer: Preparer[str], count: int) -> list[str]:
    """Wait for so many results."""
    taken: list[str] = []
    while len(taken) < count:
        assert select.select([preparer.bell], [], [], 5)[0]
        while (result := preparer.take()) is not None:
            taken.append(result)
    return taken


def saying(word: str) -> Callable[[], str]:
    return lambda: word


@pytest.fixture
def gate(preparer: Preparer[str]) -> Iterator[Event]:
    """The thread of long jobs is busy until this is set."""
    opened, begun = Event(), Event()

    def wait() -> str:
        begun.set()
        opened.wait(10)
        return "first"

    preparer.submit(wait, LONG)
    begun.wait(5)
    yield opened
    opened.set()


def test_every_result_is_taken_once_and_in_order_by_a_loop_that_never_waits() -> None:
    preparer: Preparer[int] = Preparer()
    taken: list[int] = []
    for number in range(3000):
        preparer.submit(lambda number=number: number)
        while len(taken) <= number:  # so often before the bell has rung
            if (result := preparer.take()) is not None:
                taken.append(result)
    preparer.close()
    assert taken == list(range(3000))


def test_short_jobs_are_done_in_order_whatever_their_lengths(preparer: Preparer[str]) -> None:
    for number in range(100):
        preparer.submit(saying(str(number)), (number * 7919) % SHORT_BYTES)
    assert take(preparer, 100) == [str(number) for number in range(100)]


def test_the_bell_wakes_a_loop_that_waits_and_is_silent_afterwards(
    preparer: Preparer[str],
) -> None:
    preparer.submit(lambda: "done")
    assert select.select([preparer.bell], [], [], 5)[0]
    assert preparer.take() == "done"
    assert preparer.take() is None
    assert not select.select([preparer.bell], [], [], 0.05)[0]


def test_a_bell_that_nobody_hears_holds_up_no_job(preparer: Preparer[str]) -> None:
    for _ in range(5000):  # more than a socket takes in
        preparer.submit(saying("x"))
    deadline = time.monotonic() + 20
    while preparer._done.qsize() < 5000 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(take(preparer, 5000)) == 5000


def test_a_short_job_is_done_while_long_ones_wait_for_each_other(
    preparer: Preparer[str], gate: Event
) -> None:
    for _ in range(20):
        preparer.submit(saying("long"), LONG)
    preparer.submit(saying("short"), 10)
    assert take(preparer, 1) == ["short"]
    gate.set()
    assert take(preparer, 21) == ["first"] + ["long"] * 20


def test_of_long_jobs_the_shorter_comes_first_unless_another_has_waited_for_long(
    preparer: Preparer[str], gate: Event
) -> None:
    preparer.submit(saying("1 MB at 0 s"), 1_000_000, 0.0)
    preparer.submit(saying("500 kB at 1 s"), 500_000, 1.0)
    preparer.submit(saying("100 kB at 8 s"), 100_000, 8.0)
    preparer.submit(saying("100 kB at 12 s"), 100_000, 12.0)
    gate.set()
    words = ["500 kB at 1 s", "100 kB at 8 s", "1 MB at 0 s", "100 kB at 12 s"]
    assert take(preparer, 5) == ["first", *words]


def test_a_dropped_job_is_never_begun_and_keeps_nothing_in_memory(
    preparer: Preparer[str], gate: Event
) -> None:
    def begin() -> str:
        raise AssertionError("begun")

    dropped = [preparer.submit(begin, LONG) for _ in range(20)]
    for job in dropped:
        preparer.drop(job)
    preparer.submit(saying("wanted"), LONG)
    gate.set()
    assert take(preparer, 2) == ["first", "wanted"]
    assert all(job.run is None for job in dropped)


def test_what_a_job_raises_is_raised_to_whoever_takes_it(preparer: Preparer[str]) -> None:
    def fail() -> str:
        raise KeyError("lost")

    preparer.submit(fail)
    assert select.select([preparer.bell], [], [], 5)[0]
    with pytest.raises(KeyError, match="lost"):
        while preparer.take() is None:
            pass

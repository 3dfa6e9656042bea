"""The order of requests, which outlives a head and a clock that goes back."""

from itertools import islice

from bramble.head.arrivals import Arrivals


def test_numbers_rise_whatever_the_clock_does() -> None:
    clock = iter([5_000_000, 5_000_000, 1_000, 9_000_000])
    assert list(islice(Arrivals(lambda: next(clock)), 4)) == [5000, 5001, 5002, 9000]


def test_what_a_later_head_accepts_comes_later() -> None:
    assert next(Arrivals(lambda: 7_000_000)) < next(Arrivals(lambda: 7_001_000))

"""How fast the ring is said to be, at a clock that the test holds."""

from __future__ import annotations

import pytest
from bramble.head.speed import WINDOW_S, Speed


def worked(*steps: tuple[float, int, int]) -> Speed:
    """A ring that began at 0 s and answered steps at (s, decode tokens, prefill tokens)."""
    speed = Speed()
    speed.begin(0.0)
    for step in steps:
        speed.count(*step)
    return speed


@pytest.mark.parametrize("chunk_s", [0.05, 0.4, 8.5, 25.0])
def test_a_prompt_is_read_at_the_speed_of_its_chunks_however_long_each_takes(
    chunk_s: float,
) -> None:
    """128 tokens in 8.5 s were told as 128/s, then as ever less, and behind 10 s as nothing."""
    speed = worked((chunk_s, 0, 128), (2 * chunk_s, 0, 128))
    for now in (2 * chunk_s, 2.9 * chunk_s):
        rate = speed.per_second(now)[1]
        assert rate == pytest.approx(128 / max(chunk_s, 0.05), rel=0.01)


def test_before_its_first_chunk_is_read_nothing_is_claimed() -> None:
    assert worked().per_second(5.0) == (0.0, 0.0)


def test_a_rest_is_no_part_of_the_work_that_follows() -> None:
    speed = worked((1.0, 10, 0))
    speed.rest()
    assert speed.per_second(2.0) == (5.0, 0.0)
    assert speed.per_second(1.1 + WINDOW_S) == (0.0, 0.0)
    speed.begin(4.0)
    speed.count(5.0, 20, 0)
    assert speed.per_second(5.5) == (20.0, 0.0)


def test_between_two_beginnings_the_first_holds() -> None:
    speed = Speed()
    speed.begin(0.0)
    speed.begin(1.0)
    speed.count(2.0, 4, 0)
    assert speed.per_second(2.0) == (2.0, 0.0)

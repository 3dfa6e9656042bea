"""A trouble that comes every few seconds for a day does not fill the journal."""

from __future__ import annotations

from itertools import pairwise

from bramble.observe.repeats import Repeats


def test_the_same_trouble_is_told_ever_more_rarely() -> None:
    repeats = Repeats()
    told = [now for now in range(0, 86_400, 3) if repeats.tell("disk full", now) is not None]
    assert told[:3] == [0, 60, 180]
    assert len(told) < 35 and max(b - a for a, b in pairwise(told)) <= 3603


def test_another_trouble_is_told_at_once_and_so_is_one_that_was_over() -> None:
    repeats = Repeats()
    assert str(repeats.tell("disk full", 0)) == ""
    assert repeats.tell("disk full", 1) is None and repeats.is_again
    assert str(repeats.tell("no such file", 2)) == "" and not repeats.is_again
    repeats.end()
    assert str(repeats.tell("no such file", 3)) == ""


def test_how_often_and_since_when_is_said() -> None:
    repeats = Repeats()
    for now in range(0, 60, 3):
        repeats.tell("disk full", now)
    assert str(repeats.tell("disk full", 60)) == " times=21 since_s=60"


def test_two_troubles_that_take_turns_are_told_as_rarely_as_each_alone() -> None:
    repeats = Repeats()
    told = [now for now in range(3600) if repeats.tell(f"stage {now % 2}", now) is not None]
    assert len(told) < 15

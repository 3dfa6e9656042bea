"""Heads that come and go: who waits on, and who is told when."""

import pytest
from bramble.errors import Unavailable
from bramble.head.patience import GIVE_UP_S, LOST_S, SILENCE_S, Patience
from bramble.wire.messages import Delta, Progress

HELD = Progress("r", 0, 0, 0)  # by a head that has no plan yet
DELTA = Delta("r", "a", (1,))


def test_a_silent_head_is_asked_again_every_three_seconds_and_given_up_after_a_minute() -> None:
    patience = Patience(100.0)
    asked = [now for now in range(100, 161) if patience.must_ask(float(now))]
    assert asked[:2] == [104, 108] and len(asked) == GIVE_UP_S // (SILENCE_S + 1)
    with pytest.raises(Unavailable, match="has not answered for 60 s"):
        patience.must_ask(160.1)


@pytest.mark.parametrize(
    ("message", "until"),
    [(HELD, LOST_S), (DELTA, 10 * LOST_S), (Progress("r", 1, 0, 9), LOST_S)],
)
def test_heads_that_die_again_and_again_are_waited_for_as_long_as_something_comes_of_it(
    message: object, until: float
) -> None:
    """Each lives for 20 s and says something once; it is away for 30 s."""
    patience, now = Patience(0.0), 0.0
    with pytest.raises(Unavailable, match="again and again for 10 minutes"):
        while now < 10 * LOST_S:
            patience.hear(message, now)
            for _ in range(50):
                now += 1
                patience.must_ask(now)
        raise Unavailable("not given up; again and again for 10 minutes")
    assert until <= now <= until + 60


def test_a_head_that_lives_is_waited_for_however_long_the_queue_is() -> None:
    patience = Patience(0.0)
    assert patience.must_ask(4.0)  # lost once
    for now in range(4, int(10 * LOST_S)):
        patience.hear(Progress("r", 5, 0, 9), now)
        assert not patience.must_ask(now + 1)


def test_a_place_further_ahead_is_progress_and_a_prompt_read_anew_is_none() -> None:
    patience = Patience(0.0)
    assert patience.must_ask(4.0)
    for at, (place, read, is_given_up) in enumerate(
        [(2, 0, False), (1, 0, False), (0, 8, False), (0, 4, True), (3, 0, True)], start=1
    ):
        now = at * LOST_S
        patience.hear(Progress("r", place, read, 9), now)
        try:
            patience.must_ask(now + 4)
            patience.must_ask(now + 8)
            assert not is_given_up
        except Unavailable:
            assert is_given_up

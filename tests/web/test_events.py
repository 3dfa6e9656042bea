"""The stream of a reply: never silent for long, whatever happens or does not."""

from collections.abc import Iterator
from itertools import count

import pytest
from bramble.head.client import Event, Pulse
from bramble.web.events import COMMENT_S, EventWriter
from bramble.web.reply import Reply
from bramble.web.shapes import ChatShape
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Delta, Progress


class Events:
    """What an EventWriter reads: the same event again and again."""

    def __init__(self, event: Event) -> None:
        self.prompt_tokens = (7,)
        self._event = event

    def __iter__(self) -> Iterator[tuple[int, Event]]:
        for _ in range(60):
            yield 0, self._event


@pytest.mark.parametrize(
    "event",
    [Pulse(12.3), Delta("r", "", (1,)), Accepted("r", 7), Progress("r", 0, 0, 0)],
)
def test_no_stream_is_silent_for_five_seconds(event: Event) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.5
        return now

    reply = Reply("id", 0, "model", None, ChatShape())
    last = 0.0
    for written in EventWriter(reply, Tally([7], 1), False, clock).write(Events(event)):
        assert written.endswith(b"\n\n") and now - last <= COMMENT_S + 1
        last = now
    assert now - last <= COMMENT_S + 1


def test_a_silent_head_is_told_of_in_a_comment() -> None:
    reply = Reply("id", 0, "model", None, ChatShape())
    now = count(0, 10)
    writer = EventWriter(reply, Tally([7], 1), False, lambda: next(now))
    assert list(writer.write(Events(Pulse(12.3))))[1] == b': waiting {"silent_s":12}\n\n'

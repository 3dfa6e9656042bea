"""Long prompts delay nobody's short one at the tokenizer, and what nobody waits for is not read."""

import time
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from bramble.head.desk import MAX_WAITING_BYTES, Desk
from bramble.head.preparer import SHORT_BYTES
from bramble.wire import messages as m

from tests.head.test_desk import TOKENIZER, Client, ids_of, opened
from tests.head.test_fleet import StandIn

__all__ = ["opened"]  # a fixture


def read(desk: Desk, client: Client, now: float, count: int = 1) -> None:
    """Let the desk read what was asked, and again until so many events have come."""
    while len(client.heard) < count:
        desk.read(now)
        time.sleep(0.01)


class SlowTokenizer:
    """Waits over each long text until it may go on, and notes what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go_on, self.is_busy = Event(), Event()
        self.texts: list[str] = []
        monkeypatch.setattr(TOKENIZER, "encode", self._encode)

    def _encode(self, text: str) -> list[int]:
        self.texts.append(text[-9:])
        if len(text) > SHORT_BYTES:
            self.is_busy.set()
            assert self.may_go_on.wait(20)
        return ids_of(text)


MEGABYTE = "long text " * 100_000


@pytest.fixture
def slow(opened: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowTokenizer]:
    """A tokenizer that is busy with a long prompt already."""
    client, desk, _ = opened
    slow = SlowTokenizer(monkeypatch)
    client.ask("busy", prompt=MEGABYTE)
    desk.read(0.0)
    assert slow.is_busy.wait(5)
    yield slow
    slow.may_go_on.set()


def test_twenty_prompts_of_a_megabyte_do_not_delay_a_short_one(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    for number in range(20):
        client.ask(f"long-{number}", prompt=MEGABYTE)
    client.ask("short", prompt="hi")
    read(desk, client, 1.0)
    assert [event.request for event in client.heard] == ["short"]
    assert isinstance(client.heard[0], m.Accepted)


def test_the_text_of_a_request_that_is_cancelled_is_not_tokenized(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    client.ask("r", prompt=MEGABYTE + "r")
    client.asked.append((b"client", m.Cancel("r")))
    client.ask("next", prompt=MEGABYTE + "next")
    desk.read(0.0)
    client.heard.clear()  # that it is cancelled
    slow.may_go_on.set()
    read(desk, client, 2.0, 2)
    assert {event.request for event in client.heard} == {"busy", "next"}
    assert len(slow.texts) == 2


def test_a_request_that_is_asked_again_while_it_waits_is_tokenized_once(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    for now in range(10):
        client.ask("again", prompt=MEGABYTE + "again")
        desk.read(float(now))
    slow.may_go_on.set()
    read(desk, client, 9.0, 2)
    assert [text[-5:] for text in slow.texts] == ["text ", "again"]
    assert desk._requests["again"].arrived_at == 0.0


def test_a_refusal_of_what_was_asked_before_does_not_end_what_is_asked_now(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    client.asked.append((b"client", m.Cancel("busy")))
    client.ask("busy", prompt="short and good")  # while a long and bad one is under way
    desk.read(0.0)
    slow.may_go_on.set()
    while not any(isinstance(event, m.Accepted) for event in client.heard):
        desk.read(0.0)
    assert not any(isinstance(event, m.Refused) for event in client.heard)


def test_more_text_than_may_wait_is_refused_and_what_was_accepted_once_is_not(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    for number in range(MAX_WAITING_BYTES // len(MEGABYTE)):  # one too many, as "busy" waits too
        client.ask(f"r-{number}", prompt=MEGABYTE)
    client.ask("accepted before", prompt=MEGABYTE, export="sha", accepted_at_us=7)
    desk.read(0.0)
    (refused,) = client.heard
    assert isinstance(refused, m.Refused)
    assert (refused.family, refused.request) == ("QueueFull", f"r-{number}")
    assert "accepted before" in desk._asked


def test_a_prompt_that_is_longer_than_what_may_wait_is_read_while_nothing_else_waits(
    monkeypatch: pytest.MonkeyPatch, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    client.ask(prompt=MEGABYTE * 40)
    read(desk, client, 0.0)
    assert isinstance(client.heard[0], m.Accepted)


def test_messages_that_nest_deeply_end_their_request_and_not_the_head(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    content: Any = "deep"
    for _ in range(100_000):
        content = [content]
    client, desk, _ = opened
    client.ask(prompt=None, messages=[{"role": "user", "content": content}])
    read(desk, client, 0.0)
    assert isinstance(client.heard[0], m.Refused)

"""The stream of a reply: never silent for long, and its events numbered."""

import json
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from bramble.head.client import Event, Events, Pulse
from bramble.web.about import About
from bramble.web.choices import Choices
from bramble.web.dialects import CHAT
from bramble.web.events import COMMENT_S, EventWriter
from bramble.web.place import Place, read_place
from bramble.wire.messages import Accepted, Delta, Done, Finish, Progress

ACCEPTED = Accepted("r", 7, "", 5_000_000, "model", "3f2a9c1bdead")


def about(num_choices: int = 1) -> About:
    return About(
        kind="chat",
        name="x",
        num_choices=num_choices,
        choices_per_prompt=num_choices,
        is_streamed=True,
        shown={"includes_usage": True},
    )


def writer(
    *streams: list[Event],
    place: Place | None = None,
    clock: Callable[[], float] = lambda: 0.0,
) -> EventWriter:
    def stream(index: int) -> Events:
        yield from streams[index]

    choices = Choices(stream, about(len(streams)))
    return EventWriter(CHAT, choices, place or Place(), lambda done: None, clock)


@pytest.mark.parametrize(
    "event",
    [Pulse(12.3), Delta("r", "", (1,)), Progress("r", 0, 0, 0)],
)
@pytest.mark.parametrize("first", [Pulse(0.0), ACCEPTED])
def test_no_stream_is_silent_for_five_seconds(event: Event, first: Event) -> None:
    if isinstance(event, Delta) and first is not ACCEPTED:
        return
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.5
        return now

    last = 0.0
    for written in writer([first] + [event] * 60, clock=clock).write():
        assert written.endswith(b"\n") and now - last <= COMMENT_S + 1
        last = now
    assert now - last <= COMMENT_S + 1


def test_a_silent_head_is_told_of_in_a_comment() -> None:
    now = count(0, 10)
    written = list(writer([Pulse(12.3)], clock=lambda: next(now)).write())
    assert written[1] == b': waiting {"silent_s":12}\n\n'


def decoded(stream: bytes) -> list[str]:
    """Return the data of events as OpenAI's package reads them: an id, once sent, stays."""
    events: list[str] = []
    data: list[str] = []
    last_id = ""
    for line in stream.decode().splitlines():
        name, _, value = line.partition(": ")
        if not line and (data or last_id):
            events.append("\n".join(data))
            data = []
        elif name == "data":
            data.append(value)
        elif name == "id":
            last_id = value
    return events


@pytest.mark.parametrize("place", [Place(), Place((2,), "3f2a9c1b")])
def test_a_comment_amid_a_reply_is_no_event_to_a_reader_that_remembers_ids(place: Place) -> None:
    amid = [Pulse(9.0), Progress("r", 0, 7, 9), Pulse(1.0)]
    told = tokens((0,), (1, 2), (3,))
    events = [event for each in told[:-1] for event in (each, *amid)] + [told[-1]]
    now = count(0, 10)
    written = b"".join(writer(events, place=place, clock=lambda: next(now)).write())
    assert written.count(b": waiting") + written.count(b": progress") >= 6
    got = decoded(written)
    assert len(got) >= 4 and all(got)


def test_a_stream_begins_before_its_request_is_accepted_if_that_takes_long() -> None:
    def stream(index: int) -> Events:
        yield Pulse(0.5)
        yield from tokens((0,))

    choices = Choices(stream, about(2))
    assert not choices.accept(0.0)
    written = list(EventWriter(CHAT, choices, Place(), lambda done: None).write())
    assert written[0] == b': waiting {"silent_s":0}\n\n'
    assert b': accepted {"prompt_tokens":14}\n' in written  # behind the other choice's first event
    assert written[-1].endswith(b"data: [DONE]\n\n")


def tokens(*batches: tuple[int, ...]) -> list[Event]:
    """Return a reply whose token i reads wi, told in batches."""
    deltas = [Delta("r", "".join(f"w{i}" for i in ids), ids) for ids in batches]
    return [ACCEPTED, *deltas, Done("r", Finish.STOP, 7, sum(map(len, batches)), 0.0, 0.0, 0.0)]


def read(written: Iterator[bytes]) -> list[tuple[str, str]]:
    """Return (id, text of it all) of each event; [DONE] has none."""
    events = []
    for event in b"".join(written).decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in event.splitlines() if line[0] != ":")
        if "data" in lines:
            text = ""
            if lines["data"] != "[DONE]":
                choices = json.loads(lines["data"])["choices"]
                text = "".join(each["delta"].get("content", "") for each in choices)
            events.append((lines.get("id", ""), text))
    return events


def test_events_are_numbered_by_tokens_and_marked_with_what_computes_them() -> None:
    got = read(writer(tokens((0,), (1, 2), (3,))).write())
    positions = [each.partition(".")[0] for each, _ in got]
    assert positions == ["1", "2", "4", "5", "6", "7", ""]
    assert {each.partition(".")[2] for each, _ in got[:-1]} == {"3f2a9c1b"}


@pytest.mark.parametrize("last", range(7))
def test_a_stream_goes_on_behind_any_event_to_the_same_text(last: int) -> None:
    whole = read(writer(tokens((0,), (1, 2), (3,))).write())
    place = read_place(whole[last - 1][0]) if last else Place()
    received = place.received(0)
    first, second = tuple(range(4)[:received]), tuple(range(4)[received:])
    rest = read(writer(tokens(*filter(None, (first, second))), place=place).write())
    had, text = whole[:last], lambda events: "".join(text for _, text in events)
    assert text(had) + text(rest) == "w0w1w2w3"
    assert [each for each, _ in rest][-3:] == [each for each, _ in whole[last:]][-3:]


def test_choices_side_by_side_go_on_each_behind_its_own_position() -> None:
    got = read(writer(tokens((0,), (1,)), tokens((0,), (1,))).write())
    for number, (event_id, _) in enumerate(got[:-1]):
        place = read_place(event_id)
        rest = read(writer(tokens((0,), (1,)), tokens((0,), (1,)), place=place).write())
        texts = "".join(text for _, text in got[: number + 1] + rest)
        assert sorted(texts.replace("w", "")) == ["0", "0", "1", "1"]
    assert got[-2][0] == "5-4.3f2a9c1b"


@pytest.mark.parametrize("last", ["5.00000000", "5-5.3f2a9c1b"])
def test_a_place_in_another_reply_is_refused(last: str) -> None:
    written = list(writer(tokens((0,)), place=read_place(last)).write())
    assert b'"error"' in written[-1] and not any(b"content" in each for each in written)

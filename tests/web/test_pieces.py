"""What is said, thought and called, as OpenAI's chat API writes it, streamed and whole."""

import json
from typing import Any

import pytest
from bramble.head.client import Events
from bramble.model.replies import Piece, Said, Thought
from bramble.web.about import About
from bramble.web.choices import Choices
from bramble.web.dialects import CHAT
from bramble.web.events import EventWriter
from bramble.web.part import InlineReader, Part
from bramble.web.place import Place, read_place
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Delta, Done, Finish

from tests.web.scripted_reader import ScriptedReader

ACCEPTED = Accepted("r", 7, "", 5_000_000, "model", "3f2a9c1bdead")
ABOUT = About("chat", "x", 1, 1, is_streamed=True, has_tools=True)
REPLY = ["?hm", "m?", "ok", "!wea", 'ther({"c', 'ity":1})', "!time({})", "!no"]


def done(finish: Finish = Finish.STOP) -> Done:
    return Done("r", finish, 7, 8, 0.0, 0.0, 0.0, cached_tokens=5, thought_tokens=2)


def events(texts: list[str]) -> Events:
    yield ACCEPTED
    for number, text in enumerate(texts):
        yield Delta("r", text, (number,))
    yield done()


def streamed(texts: list[str], place: Place | None = None) -> list[tuple[str, Any]]:
    """Return (id, document) of each event."""
    choices = Choices(lambda index: events(texts), ABOUT)

    def open_parts(about: About, accepted: Accepted) -> list[Part]:
        return [Part(ScriptedReader())]

    writer = EventWriter(CHAT, choices, place or Place(), lambda done: None, open=open_parts)
    found = []
    for event in b"".join(writer.write()).decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in event.splitlines() if line[0] != ":")
        if lines.get("data", "[DONE]") != "[DONE]":
            found.append((lines["id"], json.loads(lines["data"])))
    return found


def whole(texts: list[str], finish: Finish = Finish.STOP) -> dict[str, Any]:
    part, tally = Part(ScriptedReader()), Tally(1, 1)
    for text in texts:
        part.add(Delta("r", text, (1,)))
    part.end(done(finish))
    tally.add(0, done(finish))
    return CHAT.writer(ABOUT, ACCEPTED).whole([part], tally)


def put_together(found: list[tuple[str, Any]]) -> dict[str, Any]:
    """Do what clients do with deltas."""
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": []}
    for _, document in found:
        for choice in document["choices"]:
            delta = choice["delta"]
            message["content"] += delta.get("content", "")
            message["reasoning_content"] += delta.get("reasoning_content", "")
            for call in delta.get("tool_calls", []):
                if "id" in call:
                    assert call["index"] == len(message["tool_calls"])
                    message["tool_calls"].append(call)
                else:
                    arguments = call["function"]["arguments"]
                    message["tool_calls"][call["index"]]["function"]["arguments"] += arguments
    return message


def test_a_stream_gives_thoughts_text_and_calls() -> None:
    found = streamed(REPLY)
    message = put_together(found)
    assert message["reasoning_content"] == "hmm"
    assert message["content"] == "ok!no"
    functions = [call["function"] for call in message["tool_calls"]]
    assert functions == [
        {"name": "weather", "arguments": '{"city":1}'},
        {"name": "time", "arguments": "{}"},
    ]
    assert found[-1][1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_call_begins_with_its_index_id_type_and_name() -> None:
    calls = [
        call
        for _, document in streamed(REPLY)
        for call in document["choices"][0]["delta"].get("tool_calls", [])
    ]
    first, rest = calls[0], calls[1]
    assert first["index"] == 0 and first["type"] == "function"
    assert first["id"].startswith("call_")
    assert first["function"] == {"name": "weather", "arguments": '{"c'}
    assert rest == {"index": 0, "function": {"arguments": 'ity":1}'}}


def test_a_whole_reply_says_the_same_as_a_stream() -> None:
    document = whole(REPLY)
    message = document["choices"][0]["message"]
    assert {name: message[name] for name in ("content", "reasoning_content")} == {
        "content": "ok!no",
        "reasoning_content": "hmm",
    }
    streamed_calls = put_together(streamed(REPLY))["tool_calls"]
    assert message["tool_calls"] == [
        {name: call[name] for name in ("id", "type", "function")} for call in streamed_calls
    ]
    assert document["choices"][0]["finish_reason"] == "tool_calls"
    assert document["usage"]["prompt_tokens_details"] == {"cached_tokens": 5}
    assert document["usage"]["completion_tokens_details"] == {"reasoning_tokens": 2}


def test_a_call_alone_has_no_content_and_a_cut_one_says_length() -> None:
    assert whole(["!f({})"])["choices"][0]["message"]["content"] is None
    assert whole(['!f({"a'], Finish.LENGTH)["choices"][0]["finish_reason"] == "length"
    plain = whole(["hi"])["choices"][0]
    assert plain["message"] == {"role": "assistant", "content": "hi", "refusal": None}
    assert plain["finish_reason"] == "stop"


@pytest.mark.parametrize("arguments", ["", "{", '{"a', '{"a":', '{"a":1', '{"a":{}'])
def test_a_call_that_a_stop_string_cut_is_not_to_be_carried_out(arguments: str) -> None:
    assert whole([f"!f({arguments}"])["choices"][0]["finish_reason"] == "stop"
    assert streamed([f"!f({arguments}"])[-1][1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize("last", range(12))
def test_a_stream_goes_on_behind_any_event_to_the_same_message(last: int) -> None:
    found = streamed(REPLY)
    had = found[:last]
    place = read_place(had[-1][0]) if had else Place()
    assert had + streamed(REPLY, place) == found


def test_events_have_ids_of_their_own_also_where_a_reader_held_something_back() -> None:
    ids = [event_id for event_id, _ in streamed(REPLY)]
    assert len(ids) == len(set(ids))


def test_thoughts_can_stand_in_the_text() -> None:
    reader = InlineReader(ScriptedReader())
    pieces: list[Piece] = reader.push("?hm?ok?o?!f(") + reader.end()
    assert not any(isinstance(piece, Thought) for piece in pieces)
    said = "".join(piece.text for piece in pieces if isinstance(piece, Said))
    assert said == "<think>\nhm\n</think>\n\nok<think>\no\n</think>\n\n"

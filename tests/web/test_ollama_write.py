"""How replies look in Ollama's API: what is said, thought and called, as lines and as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from bramble.model.replies import Arguments, Call, Piece, Said, Thought, open_reader
from bramble.web.about import About
from bramble.web.ollama import OllamaChat, OllamaGenerate
from bramble.web.part import Part
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Done, Finish, TokenLogprob

ABOUT = About("ollama-chat", "ab" * 16, 1, 1, True, has_tools=True, shown={"model": "fake:latest"})
ACCEPTED = Accepted("r", 7, accepted_at_us=1_700_000_000_123_456, model="fake")
DONE = Done("r", Finish.STOP, 7, 5, 0.5, 2.0, 6.0)
FIGURES = {
    "done_reason": "stop",
    "total_duration": 6_000_000_000,
    "load_duration": 500_000_000,
    "prompt_eval_count": 7,
    "prompt_eval_duration": 1_500_000_000,
    "eval_count": 5,
    "eval_duration": 4_000_000_000,
}


def written(
    dialect: OllamaChat | OllamaGenerate, pieces: Sequence[Piece], done: Done = DONE
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a reply's lines, and the same as a whole."""
    part = Part(open_reader("", False), pieces=[*pieces], done=done)
    writer = dialect.writer(ABOUT, ACCEPTED)
    events = [*writer.opening(0)]
    for piece in pieces:
        events += writer.delta(0, [piece], ())
    tally = Tally(1, 1)
    tally.add(0, done)
    events += [*writer.done(0, part), *writer.ending([part], tally)]
    lines = [event.data for event in events]
    json.dumps(lines, allow_nan=False, ensure_ascii=False).encode()
    assert all(isinstance(line, dict) for line in lines)
    return lines, writer.whole([part], tally)  # type: ignore[return-value]


def test_a_chat_is_lines_and_the_last_one_has_the_figures() -> None:
    lines, whole = written(OllamaChat(), [Thought("hm"), Said("Hel"), Said("lo")])
    around = {"model": "fake:latest", "created_at": "2023-11-14T22:13:20.123456Z"}
    assistant = {"role": "assistant", "content": ""}
    assert lines == [
        {**around, "message": assistant | {"thinking": "hm"}, "done": False},
        {**around, "message": assistant | {"content": "Hel"}, "done": False},
        {**around, "message": assistant | {"content": "lo"}, "done": False},
        {**around, "message": assistant, "done": True, **FIGURES},
    ]
    message = assistant | {"content": "Hello", "thinking": "hm"}
    assert whole == {**around, "message": message, "done": True, **FIGURES}


def test_a_generated_text_is_a_response() -> None:
    lines, whole = written(OllamaGenerate(), [Thought("hm"), Said("Hello")])
    assert [line["response"] for line in lines] == ["", "Hello", ""]
    assert [line.get("thinking") for line in lines] == ["hm", None, None]
    assert (whole["response"], whole["thinking"], whole["done"]) == ("Hello", "hm", True)
    assert "message" not in whole


def test_calls_come_whole_with_objects_as_arguments() -> None:
    pieces = [
        Said("I will."),
        Call(0, "on"),
        Arguments(0, '{"room": '),
        Arguments(0, '"kitchen"}'),
        Call(1, "off"),
    ]
    lines, whole = written(OllamaChat(), pieces)
    assert [line["done"] for line in lines] == [False, False, True]
    calls = lines[1]["message"]["tool_calls"]
    functions = [
        {"index": 0, "name": "on", "arguments": {"room": "kitchen"}},
        {"index": 1, "name": "off", "arguments": {}},
    ]
    assert [call["function"] for call in calls] == functions
    assert len({call["id"] for call in calls}) == 2
    assert whole["message"]["tool_calls"] == calls and whole["message"]["content"] == "I will."
    assert whole["done_reason"] == "stop"


@pytest.mark.parametrize(
    "arguments", ['{"room": "kit', "[1]", '{"a": NaN}', '{"a": "\\ud800"}', '{"a":' * 5000]
)
def test_a_call_that_is_none_is_said(arguments: str) -> None:
    lines, whole = written(OllamaChat(), [Call(0, "on"), Arguments(0, arguments)])
    content = whole["message"]["content"]
    assert "tool_calls" not in whole["message"] and '"on"' in content and arguments in content
    assert "".join(line["message"]["content"] for line in lines) == content


def test_a_reply_that_is_cut_says_so_and_no_duration_is_0() -> None:
    done = Done("r", Finish.LENGTH, 7, 1, 0.0, 0.0, 0.0)
    _, whole = written(OllamaChat(), [Said("a")], done)
    assert whole["done_reason"] == "length"
    assert all(value > 0 for name, value in whole.items() if name.endswith("_duration"))


def test_log_probabilities_come_with_their_text() -> None:
    top = [{"token": "a", "bytes": [97], "logprob": float("-inf")}]
    logprob = TokenLogprob("a", [97], -0.5, top)
    writer = OllamaChat().writer(ABOUT, ACCEPTED)
    (event,) = writer.delta(0, [Said("a")], [logprob])
    assert isinstance(event.data, dict)
    floor = {"token": "a", "bytes": [97], "logprob": -9999.0}
    entry = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [floor]}
    assert event.data["logprobs"] == [entry]
    assert len([*writer.delta(0, [], [logprob])]) == 1 and not [*writer.delta(0, [], ())]

"""A reply as Anthropic's content blocks: what is streamed adds up to what is answered whole."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from bramble.model.replies import Arguments, Call, Piece, Said, Thought, open_reader
from bramble.web.about import About
from bramble.web.anthropic import AnthropicDialect
from bramble.web.dialect import Event
from bramble.web.part import Part
from bramble.web.problem import Problem, http_problem
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Done, Finish

ACCEPTED = Accepted("r-0", 7, "", 1, "fake", "0123")
THINKS = [Thought("hm"), Thought(" so"), Said("\n\n"), Said("Hi"), Said(" there")]
CALLS = [
    *(Said("Let me "), Said("see."), Call(0, "weather"), Arguments(0, '{"place":'), Said("")),
    *(Arguments(0, ' "Ulm"}'), Said("\n"), Call(1, "clock")),
]


def done(finish: Finish = Finish.STOP, **members: Any) -> Done:
    return Done("r-0", finish, 7, 5, 0.0, 0.1, 0.2, **members)


def about(**shown: Any) -> About:
    return About("anthropic", "ab" * 16, 1, 1, True, shown={"max_tokens": 5} | shown)


def ended(pieces: Sequence[Piece], end: Done) -> tuple[Part, Tally]:
    tally = Tally(1, 1)
    tally.add(0, end)
    return Part(open_reader("", False), list(pieces), done=end), tally


def whole(pieces: Sequence[Piece], end: Done | None = None, **shown: Any) -> dict[str, Any]:
    part, tally = ended(pieces, end or done())
    return AnthropicDialect().writer(about(**shown), ACCEPTED).whole([part], tally)


def stream(pieces: Sequence[Piece], end: Done | None = None, **shown: Any) -> list[Event]:
    """Each piece by itself, as a token may bring it."""
    part, tally = ended(pieces, end or done())
    writer = AnthropicDialect().writer(about(**shown), ACCEPTED)
    events = [*writer.opening(0)]
    for piece in pieces:
        events += writer.delta(0, [piece], ())
    return [*events, *writer.done(0, part), *writer.ending([part], tally)]


def put_together(events: Sequence[Event]) -> dict[str, Any]:
    """Do what a client does."""
    message: dict[str, Any] = {}
    for event in events:
        assert isinstance(event.data, dict) and event.name == event.data["type"]
        match event.data:
            case {"type": "message_start", "message": message}:
                pass
            case {"type": "content_block_start", "index": index, "content_block": block}:
                assert index == len(message["content"])
                message["content"].append(dict(block, json=""))
            case {"type": "content_block_delta", "index": index, "delta": delta}:
                block = message["content"][index]
                for name in ("text", "thinking", "signature", "partial_json"):
                    member = "json" if name == "partial_json" else name
                    if name in delta:
                        block[member] = block[member] + delta[name]
            case {"type": "content_block_stop", "index": index}:
                block = message["content"][index]
                if text := block.pop("json"):
                    block["input"] = json.loads(text)
            case {"type": "message_delta", "delta": delta, "usage": usage}:
                changes = {name: delta[name] for name in ("stop_reason", "stop_sequence")}
                message |= changes | {"usage": usage, "bramble": event.data["bramble"]}
    assert events[-1].data == {"type": "message_stop"}
    return message


@pytest.mark.parametrize("pieces", [THINKS, CALLS, [], [Said("\n")], [Call(0, "clock")]])
@pytest.mark.parametrize("hides", [False, True])
def test_what_is_streamed_adds_up_to_the_whole(pieces: list[Piece], hides: bool) -> None:
    end = done(cached_tokens=3)
    streamed = put_together(stream(pieces, end, hides_thoughts=hides))
    assert streamed == whole(pieces, end, hides_thoughts=hides)


def test_a_thought_is_a_block_with_a_signature_before_the_text() -> None:
    thought, text = whole(THINKS)["content"]
    assert thought == {"type": "thinking", "thinking": "hm so", "signature": "bramble"}
    assert text["text"] == "\n\nHi there"


def test_calls_are_blocks_with_ids_of_their_own() -> None:
    message = whole(CALLS)
    text, first, second = message["content"]
    assert text["text"] == "Let me see."
    assert (first["name"], first["input"]) == ("weather", {"place": "Ulm"})
    assert (second["name"], second["input"]) == ("clock", {})
    assert first["id"].startswith("toolu_") and first["id"] != second["id"]
    assert message["stop_reason"] == "tool_use"
    assert message == whole(CALLS)  # read again, it has the same ids


@pytest.mark.parametrize(
    ("end", "shown", "reason"),
    [
        (done(), {}, ("end_turn", None)),
        (done(stop_string="END"), {}, ("stop_sequence", "END")),
        (done(Finish.LENGTH), {}, ("max_tokens", None)),
        (done(Finish.LENGTH), {"max_tokens": 6}, ("model_context_window_exceeded", None)),
    ],
)
def test_a_reply_says_why_it_ended(
    end: Done, shown: dict[str, Any], reason: tuple[str, str | None]
) -> None:
    message = whole([Said("a")], end, **shown)
    assert (message["stop_reason"], message["stop_sequence"]) == reason


def test_cached_tokens_are_counted_apart_from_the_input() -> None:
    usage = whole([Said("a")], done(cached_tokens=3))["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (4, 3)
    assert usage["output_tokens"] == 5


def test_a_call_that_was_cut_off_keeps_what_is_complete() -> None:
    pieces = [Call(0, "f"), Arguments(0, '{"a": [1, {"b": "x"}, 2], "c": "unfin')]
    message = whole(pieces, done(Finish.LENGTH))
    assert message["content"][0]["input"] == {"a": [1, {"b": "x"}, 2]}
    assert message["stop_reason"] == "max_tokens"


def test_an_error_of_the_head_names_parameters_as_they_were_sent() -> None:
    param = "tools[2].function.parameters.properties.a"
    problem = Problem(400, f"{param}: no", "invalid_request_error", param)
    message = AnthropicDialect().error(problem)["error"]["message"]
    assert message == "tools[2].input_schema.properties.a: no"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "overloaded_error"),
    ],
)
def test_errors_have_their_kinds(status: int, kind: str) -> None:
    body = AnthropicDialect().error(http_problem(status, "because"))
    assert body["type"] == "error"
    assert body["error"] == {"type": kind, "message": "because"}
    (event,) = AnthropicDialect().failure(http_problem(status, "because"))
    assert (event.name, event.data) == ("error", body)

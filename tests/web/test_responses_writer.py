"""A reply as items of OpenAI's Responses: what is streamed adds up to what is answered whole."""

from collections.abc import Sequence
from typing import Any

import pytest
from bramble.model.replies import Arguments, Call, Piece, Said, Thought, open_reader
from bramble.web.about import About
from bramble.web.dialect import Event
from bramble.web.part import Part
from bramble.web.problem import Problem, http_problem
from bramble.web.responses import ResponsesDialect
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Done, Finish, TokenLogprob
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

NAME = "ab" * 16
ACCEPTED = Accepted("r-0", 7, "", 1_000_000, "fake", "0123")
THINKS = [Thought("hm"), Thought(" so"), Said("\n"), Said("Hi"), Said(" there")]
CALLS = [
    *(Said("Let me see."), Call(0, "weather"), Arguments(0, '{"place":')),
    *(Arguments(0, ' "Ulm"}'), Call(1, "clock")),
]
STREAMED: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def ended(pieces: Sequence[Piece], finish: Finish) -> tuple[Part, Tally]:
    done = Done("r-0", finish, 7, 5, 0.0, 0.1, 0.2, cached_tokens=3, thought_tokens=2)
    tally = Tally(1, 1)
    tally.add(0, done)
    return Part(open_reader("", False), list(pieces), done=done), tally


def about(**shown: Any) -> About:
    return About("responses", NAME, 1, 1, True, shown=shown)


def whole(pieces: Sequence[Piece], finish: Finish = Finish.STOP, **shown: Any) -> dict[str, Any]:
    part, tally = ended(pieces, finish)
    return ResponsesDialect().writer(about(**shown), ACCEPTED).whole([part], tally)


def stream(pieces: Sequence[Piece], finish: Finish = Finish.STOP, **shown: Any) -> list[Event]:
    part, tally = ended(pieces, finish)
    writer = ResponsesDialect().writer(about(**shown), ACCEPTED)
    events = [*writer.opening(0)]
    for piece in pieces:
        events += writer.delta(0, [piece], ())
    return [*events, *writer.done(0, part), *writer.ending([part], tally)]


@pytest.mark.parametrize("pieces", [THINKS, CALLS, [], [Said("\n")]])
@pytest.mark.parametrize("finish", [Finish.STOP, Finish.LENGTH])
@pytest.mark.parametrize("reasoning", [{}, {"summary": "auto"}])
def test_what_is_streamed_adds_up_to_the_whole(
    pieces: list[Piece], finish: Finish, reasoning: dict[str, Any]
) -> None:
    found = whole(pieces, finish, reasoning=reasoning)
    events = [event.data for event in stream(pieces, finish, reasoning=reasoning)]
    assert events[-1]["response"] == found
    items = [each["item"] for each in events if each["type"] == "response.output_item.done"]
    assert items == found["output"]
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    Response.model_validate(found)
    for each in events:
        STREAMED.validate_python(each)


def test_each_event_is_named_by_its_type() -> None:
    events = stream(CALLS)
    assert [event.name for event in events] == [event.data["type"] for event in events]
    words = [event.name.removeprefix("response.") for event in events]
    assert words == [
        *("created", "in_progress"),
        *("output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done"),
        *("output_item.added", *["function_call_arguments.delta"] * 2),
        *("function_call_arguments.done", "output_item.done"),
        *("output_item.added", "function_call_arguments.delta"),
        *("function_call_arguments.done", "output_item.done"),
        "completed",
    ]


def test_a_thought_is_an_item_before_the_message() -> None:
    thought, message = whole(THINKS)["output"]
    assert thought["content"] == [{"type": "reasoning_text", "text": "hm so"}]
    assert thought["summary"] == []
    assert message["content"][0]["text"] == "\nHi there"


def test_who_asks_for_a_summary_gets_the_thought_as_one() -> None:
    thought, _ = whole(THINKS, reasoning={"summary": "auto"})["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "hm so"}]
    assert thought["content"] == []


def test_a_call_without_arguments_has_an_empty_object() -> None:
    *_, weather, clock = whole(CALLS)["output"]
    assert weather["arguments"] == '{"place": "Ulm"}'
    assert (clock["name"], clock["arguments"]) == ("clock", "{}")
    assert weather["call_id"] != clock["call_id"]


def test_a_reply_that_was_cut_off_is_incomplete() -> None:
    found = whole(CALLS, Finish.LENGTH)
    assert found["status"] == "incomplete"
    assert found["incomplete_details"] == {"reason": "max_output_tokens"}
    assert [item["status"] for item in found["output"]] == ["completed"] * 2 + ["incomplete"]


def test_a_response_repeats_what_was_asked() -> None:
    asked = {"instructions": "be", "metadata": {"a": "b"}, "text": {"verbosity": "low"}}
    found = whole([Said("a")], **asked)
    assert (found["instructions"], found["metadata"]) == ("be", {"a": "b"})
    assert found["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert found["created_at"] == 1
    assert found["usage"]["input_tokens_details"]["cached_tokens"] == 3
    assert found["usage"]["output_tokens_details"]["reasoning_tokens"] == 2


def test_log_probabilities_stand_with_their_text() -> None:
    likely = TokenLogprob("a", [97], -0.5, [])
    part, tally = ended([Said("a")], Finish.STOP)
    part.logprobs = [likely]
    writer = ResponsesDialect().writer(about(), ACCEPTED)
    *_, grown = [*writer.opening(0), *writer.delta(0, [Said("a")], [likely])]
    assert isinstance(grown.data, dict) and grown.data["logprobs"][0]["logprob"] == -0.5
    (message,) = ResponsesDialect().writer(about(), ACCEPTED).whole([part], tally)["output"]
    assert message["content"][0]["logprobs"][0]["token"] == "a"


@pytest.mark.parametrize(
    ("param", "ours"),
    [("messages", "input"), ("tools[2].function.parameters.a", "tools[2].parameters.a")],
)
def test_an_error_of_the_head_names_parameters_as_they_were_sent(param: str, ours: str) -> None:
    problem = Problem(400, "because", "invalid_request_error", param)
    assert ResponsesDialect().error(problem)["error"]["param"] == ours


def test_an_error_amid_a_reply_fails_it() -> None:
    writer = ResponsesDialect().writer(about(), ACCEPTED)
    num_events = len([*writer.opening(0)])
    (event,) = writer.failure(http_problem(500, "because"))
    assert event.name == "response.failed" and isinstance(event.data, dict)
    assert event.data["sequence_number"] == num_events
    assert event.data["response"]["error"] == {"code": "server_error", "message": "because"}
    STREAMED.validate_python(event.data)


def test_an_error_before_the_reply_is_an_event_of_its_own() -> None:
    (event,) = ResponsesDialect().failure(http_problem(503, "because"))
    assert event.name == "error"
    STREAMED.validate_python(event.data)

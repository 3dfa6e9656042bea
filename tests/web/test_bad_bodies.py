"""Bodies of Anthropic's messages and OpenAI's Responses with something odd in every place."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.web.about import About
from bramble.web.anthropic import AnthropicDialect
from bramble.web.dialect import Dialect
from bramble.web.responses import ResponsesDialect
from bramble.wire.messages import Accepted

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
FORMAT = {"type": "json_schema", "name": "n", "schema": SCHEMA}
TEXT = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
MESSAGE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 20,
    "system": [TEXT],
    "messages": [
        {
            "role": "user",
            "content": [TEXT, {"type": "document", "source": {"type": "text", "data": "x"}}],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "h", "signature": "s"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [TEXT]}],
        },
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA, "strict": True}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "stop_sequences": ["x"],
    "thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": SCHEMA}},
    "temperature": 0.5,
    "stream": True,
}
RESPONSE: dict[str, Any] = {
    "model": "m",
    "instructions": "i",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "t"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "r"},
    ],
    "tools": [{"type": "function", "name": "f", "description": "d", "parameters": SCHEMA}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "f"}]},
    "parallel_tool_calls": True,
    "text": {"format": FORMAT, "verbosity": "low"},
    "reasoning": {"effort": "low", "summary": "auto"},
    "max_output_tokens": 20,
    "include": ["message.output_text.logprobs"],
    "stream_options": {"include_obfuscation": False},
    "metadata": {"a": "b"},
    "stream": True,
}
ODD: list[Any] = [
    *(None, True, -1, 1.5, 1e300, 2**70, "", "x", "\0", [], {}, [None], [[]], {"a": 1}),
    *({"type": []}, [{"type": "text", "text": 1}], {"type": "function", "name": {}}),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for key, member in members:
        yield (*path, key)
        if isinstance(member, dict | list):
            yield from places(member, (*path, key))


def changed(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each place with each odd value, and without one."""
    for *path, last in places(document):
        for odd in [*ODD, ...]:
            body = copy.deepcopy(document)
            place: Any = body
            for key in path:
                place = place[key]
            if odd is ...:
                del place[last]
            else:
                place[last] = copy.deepcopy(odd)
            yield body


@pytest.mark.parametrize(
    ("dialect", "document"), [(AnthropicDialect(), MESSAGE), (ResponsesDialect(), RESPONSE)]
)
def test_what_is_odd_is_read_or_refused_with_its_path(
    dialect: Dialect, document: dict[str, Any]
) -> None:
    assert dialect.read(document).is_streamed
    for body in changed(document):
        try:
            (request,) = dialect.read(body).requests
        except BadInput as refused:
            assert refused.param
        else:
            assert request.messages


def test_a_null_is_absent_in_what_a_response_repeats() -> None:
    asked = ResponsesDialect().read({"input": "hi", "text": {"format": None}, "reasoning": None})
    about = About("responses", "ab" * 16, 1, 1, True, shown=asked.shown)
    (event, _) = ResponsesDialect().writer(about, Accepted("r", 7)).opening(0)
    assert isinstance(event.data, dict)
    assert event.data["response"]["text"] == {"format": {"type": "text"}}

"""The anthropic package: messages, with tools, streamed, counted."""

from __future__ import annotations

from typing import Any

import anthropic
from calls import (
    ANSWER,
    ARGUMENTS,
    ASKED,
    GREETING,
    HELLO,
    PARAMETERS,
    RESULT,
    RING,
    SCRIPTED,
    WEATHER,
    Calls,
    Server,
)

calls = Calls("anthropic", "anthropic")
TOOLS: list[Any] = [
    {"name": WEATHER["name"], "description": "The weather.", "input_schema": PARAMETERS}
]


def client_of(server: Server) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=60)


def ask(**more: Any) -> Any:
    asked = {"model": SCRIPTED.model, "max_tokens": 2000, "messages": ASKED, "tools": TOOLS}
    return client_of(SCRIPTED).messages.create(**asked | more)


@calls.add("`messages.create`", "a text and its usage")
def text() -> None:
    reply = client_of(RING).messages.create(
        model=RING.model, max_tokens=100, system="Be brief.", messages=HELLO
    )
    assert reply.content[0].type == "text" and reply.content[0].text
    assert reply.stop_reason == "end_turn" and reply.usage.output_tokens > 0


@calls.add("`messages.stream`", "a text in pieces, put together by the package")
def streamed_text() -> None:
    with client_of(RING).messages.stream(
        model=RING.model, max_tokens=100, messages=HELLO
    ) as stream:
        text = "".join(stream.text_stream)
        reply = stream.get_final_message()
    assert text == reply.content[0].text != ""
    assert reply.usage.output_tokens > 0


@calls.add("`messages.create(max_tokens=2)`", "a reply that is cut short says so")
def cut_short() -> None:
    reply = client_of(RING).messages.create(model=RING.model, max_tokens=2, messages=HELLO)
    assert reply.stop_reason == "max_tokens"


@calls.add("`messages.create(tools=…)`", "a call, its result, and the answer behind it")
def tools() -> None:
    reply = ask()
    assert reply.stop_reason == "tool_use"
    (use,) = [block for block in reply.content if block.type == "tool_use"]
    assert (use.name, use.input) == (WEATHER["name"], ARGUMENTS)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": RESULT}
    history = [
        *ASKED,
        {"role": "assistant", "content": reply.content},
        {"role": "user", "content": [result]},
    ]
    assert ask(messages=history).content[0].text == ANSWER


@calls.add("`messages.stream(tools=…)`", "a streamed call, put together by the package")
def streamed_tools() -> None:
    with client_of(SCRIPTED).messages.stream(
        model=SCRIPTED.model, max_tokens=500, messages=ASKED, tools=TOOLS
    ) as stream:
        kinds = [event.type for event in stream]
        (use,) = stream.get_final_message().content
    assert "input_json" in kinds
    assert (use.name, use.input) == (WEATHER["name"], ARGUMENTS)


@calls.add("`tool_choice`", "none, any and a named tool are obeyed")
def tool_choices() -> None:
    assert ask(tool_choice={"type": "none"}).content[0].text == GREETING
    for choice in ({"type": "any"}, {"type": "tool", "name": WEATHER["name"]}):
        (use,) = ask(messages=HELLO, tool_choice=choice).content
        assert (use.name, use.input) == (WEATHER["name"], ARGUMENTS)


@calls.add("`tool_choice` on a ring", "the embedded model uses the named tool, with fitting input")
def kept_tool_choice() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "London"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    reply = client_of(RING).messages.create(
        model=RING.model,
        max_tokens=500,
        messages=HELLO,
        tools=[{"name": "choose", "input_schema": schema}],
        tool_choice={"type": "tool", "name": "choose"},
    )
    assert reply.stop_reason == "tool_use"
    assert all(use.input["city"] in ("Paris", "London") for use in reply.content)


@calls.add("`messages.create(thinking=…)`", "a thought in a block of its own, and back again")
def thinking() -> None:
    asked = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "tools": anthropic.NOT_GIVEN}
    reply = ask(messages=HELLO, **asked)
    assert [block.type for block in reply.content] == ["thinking", "text"]
    assert reply.content[1].text == GREETING
    history = [*HELLO, {"role": "assistant", "content": reply.content}, *HELLO]
    assert ask(messages=history, **asked).content[1].text == GREETING


@calls.add("`cache_control`", "a mark on a part of the prompt passes")
def cache_control() -> None:
    part = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}
    assert ask(system=[part], messages=HELLO).content[0].text == GREETING


@calls.add("`messages.count_tokens`", "the length of a prompt")
def count() -> None:
    count = client_of(RING).messages.count_tokens
    short = count(model=RING.model, messages=HELLO).input_tokens
    longer = count(model=RING.model, messages=ASKED).input_tokens
    assert 0 < short < longer


@calls.add("errors", "`BadRequestError` names the parameter, `NotFoundError` the served model")
def errors() -> None:
    try:
        ask(tools=[{"input_schema": PARAMETERS}])
    except anthropic.BadRequestError as error:
        assert error.body["error"]["type"] == "invalid_request_error"
        assert "tools[0].name" in error.body["error"]["message"], error.body
    else:
        raise AssertionError("a tool without a name was accepted")
    try:
        ask(model="claude")
    except anthropic.NotFoundError as error:
        assert SCRIPTED.model in error.body["error"]["message"]
    else:
        raise AssertionError("an unknown model was accepted")


if __name__ == "__main__":
    calls.run()

"""The openai package: chat, completions and responses."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

import openai
from calls import (
    ANSWER,
    ARGUMENTS,
    ASKED,
    CLOCK,
    GREETING,
    HELLO,
    QUESTION,
    RESULT,
    RING,
    SCRIPTED,
    WEATHER,
    Calls,
    Server,
)
from pydantic import BaseModel

calls = Calls("openai (Python)", "openai")


def client_of(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.v1, api_key="none", max_retries=0, timeout=60)


@calls.add("`models.list`", "the served model, and nothing else")
def models() -> None:
    assert [model.id for model in client_of(RING).models.list()] == [RING.model]
    assert client_of(RING).models.retrieve(RING.model).id == RING.model


@calls.add("`chat.completions.create`", "a reply and its usage")
def chat() -> None:
    reply = client_of(RING).chat.completions.create(model=RING.model, messages=HELLO)
    assert reply.choices[0].message.content
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


@calls.add("`chat.completions.create(stream=True)`", "the same reply in pieces, then its usage")
def streamed_chat() -> None:
    client = client_of(RING)
    asked = {"model": RING.model, "messages": HELLO, "seed": 1}
    whole = client.chat.completions.create(**asked).choices[0].message.content
    chunks = list(
        client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(pieces) == whole and len(pieces) > 2
    assert chunks[-1].usage.completion_tokens > 0


@calls.add("`AsyncOpenAI`", "two replies at once")
async def at_once() -> None:
    async with openai.AsyncOpenAI(base_url=RING.v1, api_key="none", max_retries=0) as client:
        asked = client.chat.completions.create
        replies = await asyncio.gather(
            *(asked(model=RING.model, messages=HELLO, seed=1) for _ in range(2))
        )
    first, second = (reply.choices[0].message.content for reply in replies)
    assert first == second


@calls.add("`completions.create`", "the continuation of a text")
def completion() -> None:
    reply = client_of(RING).completions.create(
        model=RING.model, prompt="A ring of", max_tokens=8, temperature=0
    )
    assert reply.choices[0].text and reply.usage.completion_tokens <= 8


# --- tools ----------------------------------------------------------------------------------------

TOOLS: list[Any] = [{"type": "function", "function": each} for each in (WEATHER, CLOCK)]


def ask(content: str = QUESTION, **more: Any) -> Any:
    """Return the first choice of a reply to a question, with tools."""
    messages: list[Any] = [{"role": "user", "content": content}]
    asked = {"model": SCRIPTED.model, "messages": messages, "tools": TOOLS} | more
    return client_of(SCRIPTED).chat.completions.create(**asked).choices[0]


@calls.add("`chat.completions.create(tools=…)`", "a call, its result, and the answer behind it")
def tools() -> None:
    choice = ask()
    assert choice.finish_reason == "tool_calls" and not choice.message.content
    (call,) = choice.message.tool_calls
    assert call.function.name == WEATHER["name"]
    assert json.loads(call.function.arguments) == ARGUMENTS
    result = {"role": "tool", "tool_call_id": call.id, "content": RESULT}
    assert ask(messages=[*ASKED, choice.message, result]).message.content == ANSWER


@calls.add("`chat.completions.create(tools=…, stream=True)`", "the name, then pieces of arguments")
def streamed_tools() -> None:
    chunks = client_of(SCRIPTED).chat.completions.create(
        model=SCRIPTED.model, messages=ASKED, tools=TOOLS, stream=True
    )
    choices = [chunk.choices[0] for chunk in chunks if chunk.choices]
    pieces = [call for choice in choices for call in choice.delta.tool_calls or ()]
    assert pieces[0].id and pieces[0].type == "function"
    assert pieces[0].function.name == WEATHER["name"]
    assert {piece.index for piece in pieces} == {0} and len(pieces) > 3
    assert json.loads("".join(piece.function.arguments or "" for piece in pieces)) == ARGUMENTS
    assert choices[-1].finish_reason == "tool_calls"


@calls.add("`chat.completions.stream(tools=…)`", "a streamed call, put together by the package")
def gathered_tools() -> None:
    with client_of(SCRIPTED).chat.completions.stream(
        model=SCRIPTED.model, messages=ASKED, tools=TOOLS
    ) as stream:
        kinds = [event.type for event in stream]
        (call,) = stream.get_final_completion().choices[0].message.tool_calls
    assert "tool_calls.function.arguments.done" in kinds
    assert json.loads(call.function.arguments) == ARGUMENTS


@calls.add("`tool_choice`", "none, required and a named function are obeyed")
def tool_choices() -> None:
    assert ask(tool_choice="none").message.content == GREETING
    assert ask("Hello").message.content == GREETING
    assert ask("Hello", tool_choice="required").message.tool_calls
    named = {"type": "function", "function": {"name": CLOCK["name"]}}
    choice = ask("Hello", tool_choice=named)
    assert [call.function.name for call in choice.message.tool_calls] == [CLOCK["name"]]


@calls.add("`parallel_tool_calls`", "two calls in one reply, or one where it is off")
def parallel_tools() -> None:
    found = ask("I want to know both.").message.tool_calls
    assert [call.function.name for call in found] == [WEATHER["name"], CLOCK["name"]]
    assert found[0].id != found[1].id
    assert len(ask("I want to know both.", parallel_tool_calls=False).message.tool_calls) == 1


@calls.add("`tools` without a name", "a 400 that names the parameter")
def bad_tools() -> None:
    try:
        ask(tools=[{"type": "function", "function": {"parameters": {}}}])
    except openai.BadRequestError as error:
        assert error.param == "tools[0].function.name", error.param
    else:
        raise AssertionError("a tool without a name was accepted")


# --- schemas --------------------------------------------------------------------------------------


class Weather(BaseModel):
    city: str
    unit: Literal["celsius", "fahrenheit"]
    degrees: list[int]


@calls.add("`chat.completions.parse`", "a reply that fits a class, with a strict schema")
def parsed() -> None:
    reply = client_of(SCRIPTED).chat.completions.parse(
        model=SCRIPTED.model, messages=ASKED, response_format=Weather
    )
    assert reply.choices[0].message.parsed == Weather(city="Paris", unit="celsius", degrees=[7])


@calls.add("`response_format: json_object`", "a reply that is a JSON object")
def json_object() -> None:
    reply = client_of(SCRIPTED).chat.completions.create(
        model=SCRIPTED.model, messages=ASKED, response_format={"type": "json_object"}
    )
    assert isinstance(json.loads(reply.choices[0].message.content), dict)


class Choice(BaseModel, extra="forbid"):
    city: Literal["Paris", "London"]
    is_warm: bool


@calls.add("`response_format` on a ring", "the embedded model fits a class, whole and streamed")
def kept_by_grammar() -> None:
    asked: Any = {"model": RING.model, "messages": ASKED, "response_format": Choice, "seed": 1}
    whole = client_of(RING).chat.completions.parse(**asked).choices[0].message.parsed
    with client_of(RING).chat.completions.stream(**asked) as stream:
        streamed = stream.get_final_completion().choices[0].message.parsed
    assert whole == streamed and isinstance(whole, Choice)


@calls.add(
    "`tool_choice` on a ring", "the embedded model calls what it has to, with fitting arguments"
)
def kept_calls() -> None:
    function = {"name": "choose", "parameters": Choice.model_json_schema()}
    tools: list[Any] = [{"type": "function", "function": function}]
    named = {"type": "function", "function": {"name": "choose"}}
    for choice in ("required", named):
        reply = client_of(RING).chat.completions.create(
            model=RING.model, messages=HELLO, tools=tools, tool_choice=choice
        )
        assert reply.choices[0].finish_reason == "tool_calls"
        for call in reply.choices[0].message.tool_calls:
            Choice.model_validate_json(call.function.arguments)


@calls.add("`response_format` with a pattern that is none", "a 400 with the path of what is wrong")
def bad_schema() -> None:
    properties = {"a": {"type": "string", "pattern": "("}}
    schema = {"type": "object", "properties": properties}
    form: Any = {"type": "json_schema", "json_schema": {"name": "bad", "schema": schema}}
    try:
        client_of(RING).chat.completions.create(
            model=RING.model, messages=ASKED, response_format=form
        )
    except openai.BadRequestError as error:
        assert error.param == "response_format.json_schema.schema.properties.a.pattern", error
    else:
        raise AssertionError("a schema that cannot be kept was accepted")


# --- parameters -----------------------------------------------------------------------------------


@calls.add("`chat_template_kwargs`", "a thought comes apart from the reply, and goes back")
def thinking() -> None:
    asked = {
        "model": SCRIPTED.model,
        "messages": HELLO,
        "extra_body": {"chat_template_kwargs": {"enable_thinking": True}},
    }
    message = client_of(SCRIPTED).chat.completions.create(**asked).choices[0].message
    assert message.content == GREETING
    assert message.reasoning_content.strip() == "Somebody greets me."
    asked["messages"] = [*HELLO, message.model_dump(exclude_none=True), *HELLO]
    assert client_of(SCRIPTED).chat.completions.create(**asked).choices[0].message.content


@calls.add("parameters without effect here", "`store`, `verbosity`, `service_tier` and others pass")
def tolerated() -> None:
    reply = client_of(RING).chat.completions.create(
        model=RING.model,
        messages=HELLO,
        metadata={"purpose": "test"},
        prompt_cache_key="mine",
        reasoning_effort="low",
        service_tier="auto",
        store=True,
        user="me",
        verbosity="low",
        max_tokens=4000,
        top_p=0,
        extra_body={"keep_alive": "5m", "num_ctx": 2048, "cache_prompt": True, "min_p": 0.0},
    )
    assert reply.choices[0].message.content


# --- responses ------------------------------------------------------------------------------------


@calls.add("`responses.create`", "a text and its usage")
def response() -> None:
    reply = client_of(RING).responses.create(
        model=RING.model, instructions="Be brief.", input="Hello"
    )
    assert reply.status == "completed" and reply.output_text
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens


@calls.add("`responses.create(stream=True)`", "the events of a text, to `response.completed`")
def streamed_response() -> None:
    events = list(client_of(RING).responses.create(model=RING.model, input="Hello", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == events[-1].response.output_text != ""


@calls.add("`responses.create(tools=…)`", "a call, its output, and the answer behind it")
def response_with_tools() -> None:
    client = client_of(SCRIPTED)
    tools: list[Any] = [{"type": "function", "strict": False} | WEATHER]
    history: list[Any] = [*ASKED]
    reply = client.responses.create(model=SCRIPTED.model, input=history, tools=tools)
    (call,) = [item for item in reply.output if item.type == "function_call"]
    assert call.name == WEATHER["name"] and json.loads(call.arguments) == ARGUMENTS
    output = {"type": "function_call_output", "call_id": call.call_id, "output": RESULT}
    history += [*reply.output, output]
    reply = client.responses.create(model=SCRIPTED.model, input=history, tools=tools)
    assert reply.output_text == ANSWER


@calls.add("`responses.stream(tools=…)`", "a streamed call, put together by the package")
def gathered_response() -> None:
    tools: list[Any] = [{"type": "function", "strict": False} | WEATHER]
    with client_of(SCRIPTED).responses.stream(
        model=SCRIPTED.model, input=QUESTION, tools=tools
    ) as stream:
        kinds = [event.type for event in stream]
        reply = stream.get_final_response()
    assert "response.function_call_arguments.delta" in kinds
    assert json.loads(reply.output[0].arguments) == ARGUMENTS


@calls.add("`responses.parse`", "a text that fits a class")
def parsed_response() -> None:
    reply = client_of(SCRIPTED).responses.parse(
        model=SCRIPTED.model, input=QUESTION, text_format=Weather
    )
    assert reply.output_parsed == Weather(city="Paris", unit="celsius", degrees=[7])


if __name__ == "__main__":
    calls.run()

"""langchain-openai: ChatOpenAI."""

from __future__ import annotations

import operator
from functools import reduce
from typing import Any, Literal

from calls import ANSWER, ARGUMENTS, QUESTION, RESULT, RING, SCRIPTED, WEATHER, Calls, Server
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

calls = Calls("langchain-openai", "langchain-openai")


def model_of(server: Server, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=server.model, base_url=server.v1, api_key="none", max_retries=0, timeout=60, **more
    )


@calls.add("`ChatOpenAI.invoke`", "a reply and its usage")
def chat() -> None:
    reply = model_of(RING).invoke("Hello")
    assert reply.content and reply.usage_metadata["output_tokens"] > 0


@calls.add("`ChatOpenAI.stream`", "a reply in pieces")
def streamed_chat() -> None:
    pieces = [chunk.content for chunk in model_of(RING).stream("Hello")]
    assert "".join(pieces) and len(pieces) > 2


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    unit: Literal["celsius", "fahrenheit"]
    degrees: list[int] = Field(description="highest and lowest")


class Choice(BaseModel, extra="forbid"):
    """A choice of a city."""

    city: Literal["Paris", "London"]
    is_warm: bool


WEATHER_IN_PARIS = Weather(city="Paris", unit="celsius", degrees=[7])


def call_a_tool(model: ChatOpenAI) -> None:
    """Have a tool called and answered."""
    bound = model.bind_tools([{"type": "function", "function": WEATHER}])
    asked: list[Any] = [HumanMessage(QUESTION)]
    reply = bound.invoke(asked)
    (call,) = reply.tool_calls
    assert (call["name"], call["args"]) == (WEATHER["name"], ARGUMENTS)
    asked += [reply, ToolMessage(RESULT, tool_call_id=call["id"])]
    assert bound.invoke(asked).text == ANSWER


@calls.add("`bind_tools(…).invoke`", "a call, its result, and the answer behind it")
def tools() -> None:
    call_a_tool(model_of(SCRIPTED))


@calls.add("`bind_tools(…).stream`", "a streamed call, put together")
def streamed_tools() -> None:
    bound = model_of(SCRIPTED).bind_tools([{"type": "function", "function": WEATHER}])
    (call,) = reduce(operator.add, bound.stream(QUESTION)).tool_calls
    assert (call["name"], call["args"]) == (WEATHER["name"], ARGUMENTS)


@calls.add('`with_structured_output(method="json_schema")`', "a class by a strict schema")
def by_schema() -> None:
    model = model_of(SCRIPTED).with_structured_output(Weather, method="json_schema")
    assert model.invoke(QUESTION) == WEATHER_IN_PARIS


@calls.add('`with_structured_output(method="function_calling")`', "a class by a named tool")
def by_tool() -> None:
    model = model_of(SCRIPTED).with_structured_output(Weather, method="function_calling")
    assert model.invoke(QUESTION) == WEATHER_IN_PARIS


@calls.add('`with_structured_output(method="json_mode")`', "an object by `json_object`")
def by_json_mode() -> None:
    model = model_of(SCRIPTED).with_structured_output(None, method="json_mode")
    assert isinstance(model.invoke(QUESTION), dict)


@calls.add(
    "`with_structured_output` on a ring", "a class of the embedded model, by schema and tool"
)
def kept_output() -> None:
    for method in ("json_schema", "function_calling"):
        model = model_of(RING).with_structured_output(Choice, method=method)
        assert isinstance(model.invoke("Hello"), Choice)


@calls.add("`ChatOpenAI(use_responses_api=True)`", "a call, its result, and the answer behind it")
def responses() -> None:
    call_a_tool(model_of(SCRIPTED, use_responses_api=True))


if __name__ == "__main__":
    calls.run()

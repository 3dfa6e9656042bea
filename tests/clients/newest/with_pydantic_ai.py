"""pydantic-ai: agents with text, tools and typed outputs."""

from __future__ import annotations

from typing import Literal

from calls import ANSWER, QUESTION, RESULT, RING, SCRIPTED, Calls, Server
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

calls = Calls("pydantic-ai", "pydantic-ai-slim")


def chat_model(server: Server) -> OpenAIChatModel:
    return OpenAIChatModel(
        server.model, provider=OpenAIProvider(base_url=server.v1, api_key="none")
    )


@calls.add("`Agent(OpenAIChatModel)`", "a text")
def text() -> None:
    result = Agent(chat_model(RING), instructions="Be brief.").run_sync("Hello")
    assert result.output and result.usage.output_tokens > 0


def responses_model(server: Server) -> OpenAIResponsesModel:
    return OpenAIResponsesModel(
        server.model, provider=OpenAIProvider(base_url=server.v1, api_key="none")
    )


class Weather(BaseModel):
    city: str
    unit: Literal["celsius", "fahrenheit"]
    degrees: list[int]


WEATHER_IN_PARIS = Weather(city="Paris", unit="celsius", degrees=[7])


class Choice(BaseModel, extra="forbid"):
    city: Literal["Paris", "London"]
    is_warm: bool


def weather_of(city: str) -> str:
    """The weather in a city."""
    assert city == "Paris"
    return RESULT


@calls.add("`run_stream`", "a text in pieces")
async def streamed_text() -> None:
    async with Agent(chat_model(RING)).run_stream("Hello") as result:
        pieces = [piece async for piece in result.stream_text(delta=True)]
    assert "".join(pieces)


@calls.add("`Agent(tools=…)`", "a tool is called, and the answer follows")
def tools() -> None:
    assert Agent(chat_model(SCRIPTED), tools=[weather_of]).run_sync(QUESTION).output == ANSWER


@calls.add("`Agent(output_type=CLASS)`", "a class, by a tool that has to be called")
def output_tool() -> None:
    result = Agent(chat_model(SCRIPTED), output_type=Weather).run_sync(QUESTION)
    assert result.output == WEATHER_IN_PARIS


@calls.add("`Agent(output_type=CLASS)` on a ring", "a class of the embedded model, by a tool")
def kept_output() -> None:
    assert isinstance(Agent(chat_model(RING), output_type=Choice).run_sync("Hello").output, Choice)


@calls.add("`Agent(tools=…, output_type=CLASS)`", "a tool, then the tool of the output")
def tools_and_output() -> None:
    agent = Agent(chat_model(SCRIPTED), tools=[weather_of], output_type=Weather)
    assert agent.run_sync(QUESTION).output == WEATHER_IN_PARIS


@calls.add("`NativeOutput`", "a class, by a schema")
def native_output() -> None:
    agent = Agent(chat_model(SCRIPTED), output_type=NativeOutput(Weather))
    assert agent.run_sync(QUESTION).output == WEATHER_IN_PARIS


@calls.add("`Agent(OpenAIResponsesModel)`", "a text, by the protocol of its `openai:` models")
def response() -> None:
    assert Agent(responses_model(RING)).run_sync("Hello").output


@calls.add("`Agent(OpenAIResponsesModel, tools=…)`", "a tool is called, and the answer follows")
def response_with_tools() -> None:
    assert Agent(responses_model(SCRIPTED), tools=[weather_of]).run_sync(QUESTION).output == ANSWER


@calls.add("`Agent(OpenAIResponsesModel, output_type=CLASS)`", "a class, by a tool")
def response_with_output() -> None:
    result = Agent(responses_model(SCRIPTED), output_type=Weather).run_sync(QUESTION)
    assert result.output == WEATHER_IN_PARIS


if __name__ == "__main__":
    calls.run()

"""llama-index: OpenAILike."""

from __future__ import annotations

from calls import QUESTION, RESULT, RING, SCRIPTED, Calls, Server
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

calls = Calls("llama-index", "llama-index-llms-openai-like")
ASKED = [ChatMessage(role="user", content=QUESTION)]
HELLO = [ChatMessage(role="user", content="Hello")]


def model_of(server: Server) -> OpenAILike:
    return OpenAILike(
        model=server.model,
        api_base=server.v1,
        api_key="none",
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
        timeout=60,
    )


@calls.add("`OpenAILike.chat`", "a reply")
def chat() -> None:
    assert model_of(RING).chat(HELLO).message.content


@calls.add("`OpenAILike.stream_chat`", "a reply in pieces")
def streamed_chat() -> None:
    pieces = [chunk.delta or "" for chunk in model_of(RING).stream_chat(HELLO)]
    assert "".join(pieces) and len(pieces) > 2


class Weather(BaseModel):
    """The weather in a city."""

    city: str
    degrees: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    assert city == "Paris"
    return RESULT


@calls.add("`chat_with_tools`", "a call of a tool")
def tools() -> None:
    model = model_of(SCRIPTED)
    reply = model.chat_with_tools([FunctionTool.from_defaults(get_weather)], QUESTION)
    (call,) = model.get_tool_calls_from_response(reply)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"city": "Paris"})


@calls.add("`predict_and_call`", "a tool is called, with its result")
def called_tools() -> None:
    tool = FunctionTool.from_defaults(get_weather)
    assert str(model_of(SCRIPTED).predict_and_call([tool], QUESTION)) == RESULT


@calls.add("`as_structured_llm`", "a class, by a tool that has to be called")
def structured() -> None:
    reply = model_of(SCRIPTED).as_structured_llm(Weather).chat(ASKED)
    assert reply.raw == Weather(city="Paris", degrees=7)


if __name__ == "__main__":
    calls.run()

"""langchain-ollama: ChatOllama."""

from __future__ import annotations

from typing import Any

from calls import ANSWER, ARGUMENTS, QUESTION, RESULT, RING, SCRIPTED, WEATHER, Calls, Server
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_ollama import ChatOllama
from pydantic import BaseModel

calls = Calls("langchain-ollama", "langchain-ollama")


class Weather(BaseModel):
    city: str
    degrees: int


def model_of(server: Server) -> ChatOllama:
    return ChatOllama(model=server.model, base_url=server.url, validate_model_on_init=True)


@calls.add("`ChatOllama.invoke`", "the model is found, and replies")
def chat() -> None:
    assert model_of(RING).invoke("Hello").content


@calls.add("`bind_tools(…).invoke`", "a call, its result, and the answer behind it")
def tools() -> None:
    bound = model_of(SCRIPTED).bind_tools([{"type": "function", "function": WEATHER}])
    asked: list[Any] = [HumanMessage(QUESTION)]
    reply = bound.invoke(asked)
    (call,) = reply.tool_calls
    assert (call["name"], call["args"]) == (WEATHER["name"], ARGUMENTS)
    asked += [reply, ToolMessage(RESULT, tool_call_id=call["id"])]
    assert bound.invoke(asked).content == ANSWER


@calls.add("`with_structured_output`", "a class, by Ollama's `format`")
def structured() -> None:
    model = model_of(SCRIPTED).with_structured_output(Weather)
    assert model.invoke(QUESTION) == Weather(city="Paris", degrees=7)


if __name__ == "__main__":
    calls.run()

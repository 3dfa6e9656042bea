"""The ollama package."""

from __future__ import annotations

from typing import Any, Literal

import ollama
from calls import (
    ANSWER,
    ARGUMENTS,
    ASKED,
    GREETING,
    HELLO,
    RESULT,
    RING,
    SCRIPTED,
    WEATHER,
    Calls,
    Server,
)
from pydantic import BaseModel

calls = Calls("ollama (Python)", "ollama")
TOOLS: list[Any] = [{"type": "function", "function": WEATHER}]


def client_of(server: Server) -> ollama.Client:
    return ollama.Client(host=server.url, timeout=60)


def base(name: str | None) -> str:
    """Return a model's name without its tag."""
    return (name or "").partition(":")[0]


@calls.add("`list`, `ps`, `show`", "the served model, and what it can do")
def models() -> None:
    client = client_of(RING)
    (listed,) = client.list().models
    assert base(listed.model) == RING.model and listed.size and listed.digest
    assert [base(each.model) for each in client.ps().models] == [RING.model]
    shown = client.show(listed.model)
    assert "completion" in shown.capabilities and shown.modelinfo


@calls.add("`chat`", "a reply with its counts and durations")
def chat() -> None:
    reply = client_of(RING).chat(RING.model, messages=HELLO)
    assert reply.message.content and reply.done and reply.done_reason == "stop"
    assert reply.eval_count and reply.prompt_eval_count and reply.total_duration


@calls.add("`chat(stream=True)`", "a reply in pieces")
def streamed_chat() -> None:
    parts = list(client_of(RING).chat(RING.model, messages=HELLO, stream=True))
    assert len(parts) > 2 and "".join(part.message.content or "" for part in parts)
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


@calls.add("`AsyncClient.chat(stream=True)`", "a reply in pieces")
async def async_chat() -> None:
    client = ollama.AsyncClient(host=RING.url)
    parts = [part async for part in await client.chat(RING.model, messages=HELLO, stream=True)]
    assert parts[-1].done


@calls.add("`generate`", "a reply to a prompt, whole and in pieces")
def generate() -> None:
    client = client_of(RING)
    asked: dict[str, Any] = {"model": RING.model, "prompt": "Hello", "options": {"seed": 1}}
    whole = client.generate(**asked).response
    assert whole == "".join(part.response for part in client.generate(**asked, stream=True)) != ""


@calls.add("`chat(options=…)`", "`num_predict` is obeyed; `num_ctx`, `keep_alive` and others pass")
def options() -> None:
    reply = client_of(RING).chat(
        RING.model,
        messages=HELLO,
        keep_alive=-1,
        options={"num_predict": 3, "num_ctx": 2048, "temperature": 0, "repeat_penalty": 1.1},
    )
    assert reply.eval_count == 3 and reply.done_reason == "length"


@calls.add("`chat(tools=…)`", "a call, its result, and the answer behind it")
def tools() -> None:
    client = client_of(SCRIPTED)
    message = client.chat(SCRIPTED.model, messages=ASKED, tools=TOOLS).message
    (call,) = message.tool_calls
    assert (call.function.name, call.function.arguments) == (WEATHER["name"], ARGUMENTS)
    result = {"role": "tool", "tool_name": WEATHER["name"], "content": RESULT}
    history = [*ASKED, message, result]
    assert client.chat(SCRIPTED.model, messages=history, tools=TOOLS).message.content == ANSWER


@calls.add("`chat(tools=[FUNCTION], stream=True)`", "a call of a Python function")
def streamed_tools() -> None:
    def get_weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: where
        """
        return city

    parts = client_of(SCRIPTED).chat(
        SCRIPTED.model, messages=ASKED, tools=[get_weather], stream=True
    )
    (call,) = [call for part in parts for call in part.message.tool_calls or ()]
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})


class Weather(BaseModel):
    city: str
    unit: Literal["celsius", "fahrenheit"]


@calls.add("`chat(format=SCHEMA)`", "a document that fits a class")
def structured() -> None:
    reply = client_of(SCRIPTED).chat(
        SCRIPTED.model, messages=ASKED, format=Weather.model_json_schema()
    )
    assert Weather.model_validate_json(reply.message.content).city == "Paris"


class Choice(BaseModel, extra="forbid"):
    city: Literal["Paris", "London"]
    is_warm: bool


@calls.add("`chat(format=SCHEMA)` on a ring", "the embedded model fits a class")
def kept_by_grammar() -> None:
    reply = client_of(RING).chat(RING.model, messages=ASKED, format=Choice.model_json_schema())
    Choice.model_validate_json(reply.message.content)


@calls.add("`chat(think=True)`", "a thought apart from the reply")
def thinking() -> None:
    message = client_of(SCRIPTED).chat(SCRIPTED.model, messages=HELLO, think=True).message
    assert message.content == GREETING
    assert message.thinking.strip() == "Somebody greets me."


@calls.add("`pull`", "of the model that is there, success; of another one, an error")
def pull() -> None:
    client = client_of(RING)
    assert client.pull(RING.model).status == "success"
    assert [each.status for each in client.pull(RING.model, stream=True)][-1] == "success"
    _refused(lambda: client.pull("llama3.2"))


@calls.add("errors", "`ResponseError` with a sentence, of a model that is not there and of `embed`")
def errors() -> None:
    client = client_of(RING)
    assert _refused(lambda: client.chat("llama3.2", messages=HELLO)).status_code == 404
    _refused(lambda: client.embed(RING.model, "Hello"))


def _refused(call: Any) -> ollama.ResponseError:
    try:
        call()
    except ollama.ResponseError as error:
        assert " " in error.error and not error.error.startswith(("{", "<")), error.error
        return error
    raise AssertionError("it was not refused")


if __name__ == "__main__":
    calls.run()

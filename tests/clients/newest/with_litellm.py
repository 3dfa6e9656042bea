"""litellm, as a client of each protocol that it speaks."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import litellm
from calls import (
    ANSWER,
    ARGUMENTS,
    ASKED,
    HELLO,
    RESULT,
    RING,
    SCRIPTED,
    WEATHER,
    Calls,
)
from pydantic import BaseModel

calls = Calls("litellm", "litellm")


class Weather(BaseModel):
    city: str
    degrees: int


OPENAI = {"model": f"openai/{RING.model}", "api_base": RING.v1, "api_key": "none", "num_retries": 0}


@calls.add('`completion(model="openai/…")`', "a reply and its usage")
def chat() -> None:
    reply = litellm.completion(**OPENAI, messages=HELLO)
    assert reply.choices[0].message.content and reply.usage.completion_tokens


@calls.add('`completion(model="openai/…", stream=True)`', "a reply in pieces")
def streamed_chat() -> None:
    chunks = list(litellm.completion(**OPENAI, messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


TOOLS = [{"type": "function", "function": WEATHER}]
PROTOCOLS: dict[str, dict[str, Any]] = {
    "openai": {"model": f"openai/{SCRIPTED.model}", "api_base": SCRIPTED.v1, "api_key": "none"},
    "ollama_chat": {"model": f"ollama_chat/{SCRIPTED.model}", "api_base": SCRIPTED.url},
    "anthropic": {
        "model": f"anthropic/{SCRIPTED.model}",
        "api_base": SCRIPTED.url,
        "api_key": "none",
        "max_tokens": 500,
    },
}


def call_a_tool(server: dict[str, Any]) -> None:
    """Have a tool called and answered."""
    messages = [*ASKED]
    message = litellm.completion(**server, messages=messages, tools=TOOLS).choices[0].message
    (call,) = message.tool_calls
    assert call.function.name == WEATHER["name"]
    assert json.loads(call.function.arguments) == ARGUMENTS
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": RESULT}]
    message = litellm.completion(**server, messages=messages, tools=TOOLS).choices[0].message
    assert message.content == ANSWER


def stream_a_tool(server: dict[str, Any]) -> None:
    messages = [*ASKED]
    chunks = list(litellm.completion(**server, messages=messages, tools=TOOLS, stream=True))
    (call,) = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == ARGUMENTS


for protocol, server in PROTOCOLS.items():
    name = f'`completion(model="{protocol}/…", tools=…'
    calls.add(f"{name})`", "a call, its result, and the answer behind it")(
        partial(call_a_tool, server)
    )
    calls.add(f"{name}, stream=True)`", "a streamed call, put together")(
        partial(stream_a_tool, server)
    )


@calls.add('`completion(model="ollama_chat/…")`', "a reply through Ollama's protocol")
def ollama_chat() -> None:
    server = {"model": f"ollama_chat/{RING.model}", "api_base": RING.url}
    assert litellm.completion(**server, messages=HELLO).choices[0].message.content


@calls.add('`completion(model="anthropic/…")`', "a reply through Anthropic's protocol")
def anthropic_chat() -> None:
    server = {"model": f"anthropic/{RING.model}", "api_base": RING.url, "api_key": "none"}
    assert litellm.completion(**server, messages=HELLO).choices[0].message.content


@calls.add("`completion(response_format=CLASS)`", "a reply that fits a class")
def schema() -> None:
    reply = litellm.completion(
        **PROTOCOLS["openai"],
        messages=[*ASKED],
        response_format=Weather,
    )
    assert Weather.model_validate_json(reply.choices[0].message.content).city == "Paris"


@calls.add("`responses`", "a text through OpenAI's newer protocol")
def response() -> None:
    reply = litellm.responses(
        model=f"openai/{RING.model}", api_base=RING.v1, api_key="none", input="Hello"
    )
    assert reply.output[0].content[0].text


if __name__ == "__main__":
    calls.run()

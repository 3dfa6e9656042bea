"""What Home Assistant's `ollama` integration asks, from its set-up to a tool's result.

Replays its config flow, coordinator and entity (`homeassistant/components/ollama`), with the
package and the defaults that they have.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import ollama
from calls import RING, SCRIPTED, Calls, Server
from home import FORMAT_SCHEMA, LIGHT, SYSTEM, TURN_ON

calls = Calls("Home Assistant `ollama`, with ollama", "ollama")
TIMEOUT_S = 5.0
NUM_CTX = 8192


def client_of(server: Server) -> ollama.AsyncClient:
    return ollama.AsyncClient(host=server.url, headers=None, verify=True)


async def chat(messages: list[ollama.Message], **more: Any) -> ollama.Message:
    """Ask as the entity does; return the deltas put together."""
    response = await client_of(SCRIPTED).chat(
        model=SCRIPTED.model,
        messages=messages,
        stream=True,
        keep_alive=-1,
        options={"num_ctx": NUM_CTX},
        **{"tools": None, "think": False, "format": None} | more,
    )
    whole = ollama.Message(role="assistant", content="", tool_calls=[])
    async for part in response:
        message = part["message"]
        whole.content += message.get("content") or ""
        whole.tool_calls += message.get("tool_calls") or []
    return whole


@calls.add("set-up", "the server answers within 5 s, and its model needs no download")
async def set_up() -> None:
    client = client_of(RING)
    async with asyncio.timeout(TIMEOUT_S):
        response = await client.list()
    (name,) = {model["model"] for model in response.get("models", [])}
    assert (await client.pull(name)).status == "success"


@calls.add("polling", "`list` and `ps` every 30 s, both at once")
async def poll() -> None:
    client = client_of(RING)
    installed, loaded = await asyncio.gather(client.list(), client.ps())
    assert installed.models and loaded.models


@calls.add("a sentence", "a reply, without tools")
async def sentence() -> None:
    answer = await chat([SYSTEM_MESSAGE, ollama.Message(role="user", content="Hello")])
    assert answer.content and not answer.tool_calls


@calls.add("a command", "a tool is called; its result goes back without an id; then the answer")
async def command() -> None:
    messages = [SYSTEM_MESSAGE, ollama.Message(role="user", content=TURN_ON)]
    answer = await chat(messages, tools=[{"type": "function", "function": LIGHT}])
    (call,) = answer.tool_calls
    assert call["function"]["name"] == LIGHT["name"]
    assert call["function"]["arguments"]["name"] and not answer.content
    answer.tool_calls = [
        ollama.Message.ToolCall(
            function=ollama.Message.ToolCall.Function(
                name=call["function"]["name"], arguments=call["function"]["arguments"]
            )
        )
    ]
    result = ollama.Message(role="tool", content=json.dumps({"data": {}, "error": None}))
    messages += [answer, result]
    last = await chat(messages, tools=[{"type": "function", "function": LIGHT}])
    assert last.content.startswith("The result is") and not last.tool_calls


@calls.add("an AI task", "data that fit a structure")
async def task() -> None:
    messages = [SYSTEM_MESSAGE, ollama.Message(role="user", content="Which lights are on?")]
    answer = await chat(messages, format=FORMAT_SCHEMA)
    assert set(json.loads(answer.content)) == set(FORMAT_SCHEMA["properties"])


SYSTEM_MESSAGE = ollama.Message(role="system", content=SYSTEM)

if __name__ == "__main__":
    calls.run()

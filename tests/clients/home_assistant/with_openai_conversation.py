"""What Home Assistant's `openai_conversation` integration asks: the Responses API, streamed.

Replays its config flow and entity (`homeassistant/components/openai_conversation`). It has no
setting for the address; OPENAI_BASE_URL in its environment is the address.
"""

from __future__ import annotations

import json
import os
from typing import Any

import openai
from calls import RING, SCRIPTED, Calls, Server
from home import CONTEXT, FORMAT_SCHEMA, LIGHT, SYSTEM, TURN_ON

calls = Calls("Home Assistant `openai_conversation`, with openai", "openai")
TOOLS: list[Any] = [{"type": "function", "strict": False} | each for each in (LIGHT, CONTEXT)]


def client_of(server: Server) -> openai.AsyncOpenAI:
    os.environ["OPENAI_BASE_URL"] = server.v1
    return openai.AsyncOpenAI(api_key="none")


def asked(content: str) -> list[Any]:
    return [
        {"type": "message", "role": "developer", "content": SYSTEM},
        {"type": "message", "role": "user", "content": content},
    ]


async def respond(history: list[Any], **more: Any) -> tuple[str, list[Any]]:
    """Ask as the entity does; return text and calls, read from the events as it reads them."""
    stream = await client_of(SCRIPTED).responses.create(
        model=SCRIPTED.model,
        input=history,
        max_output_tokens=3000,
        user="01JCONVERSATION",
        store=False,
        stream=True,
        top_p=1.0,
        temperature=1.0,
        prompt_cache_retention="24h",
        **more,
    )
    text, found, current = "", [], None
    last = None
    async for event in stream:
        last = event
        if event.type == "response.output_item.added" and event.item.type == "function_call":
            current = event.item
        elif event.type == "response.function_call_arguments.delta":
            current.arguments += event.delta
        elif event.type == "response.function_call_arguments.done":
            found.append(current)
        elif event.type == "response.output_text.delta":
            text += event.delta
    assert last is not None and last.type == "response.completed" and last.response.usage
    return text, found


@calls.add("set-up", "the key is checked by a list of the models, within 10 s")
async def set_up() -> None:
    page = await client_of(RING).with_options(timeout=10.0).models.list()
    assert [model.id async for model in page] == [RING.model]


@calls.add("a sentence", "a reply, without a call")
async def sentence() -> None:
    text, found = await respond(asked("Hello"), tools=TOOLS)
    assert text and not found


@calls.add("a command", "a tool is called, its output goes back, then the answer")
async def command() -> None:
    history = asked(TURN_ON)
    _, (call,) = await respond(history, tools=TOOLS)
    assert call.name == LIGHT["name"] and json.loads(call.arguments)["name"]
    history += [
        {
            "type": "function_call",
            "name": call.name,
            "arguments": json.dumps(json.loads(call.arguments)),
            "call_id": call.call_id,
        },
        {
            "type": "function_call_output",
            "call_id": call.call_id,
            "output": json.dumps({"data": {}, "error": None}),
        },
    ]
    text, found = await respond(history, tools=TOOLS)
    assert text.startswith("The result is") and not found


@calls.add("an AI task", "data that fit a structure, of which every property is required")
async def task() -> None:
    schema = FORMAT_SCHEMA | {
        "strict": True,
        "additionalProperties": False,
        "properties": {
            "lights": {"type": "array", "items": {"type": "string"}},
            "count": {"type": ["number", "null"]},
        },
        "required": ["lights", "count"],
    }
    form = {"type": "json_schema", "name": "lights", "schema": schema}
    text, _ = await respond(asked("Which lights are on?"), text={"format": form})
    assert set(json.loads(text)) == {"lights", "count"}


if __name__ == "__main__":
    calls.run()

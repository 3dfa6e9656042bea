"""What Home Assistant's `llama_cpp` integration asks: chat completions, whole and streamed.

Replays its config flow and entity (`homeassistant/components/llama_cpp`).
"""

from __future__ import annotations

import json
from typing import Any

import openai
from calls import RING, SCRIPTED, Calls, Server
from home import CONTEXT, FORMAT_SCHEMA, LIGHT, SYSTEM, TURN_ON

calls = Calls("Home Assistant `llama_cpp`, with openai", "openai")
TOOLS: list[Any] = [{"type": "function", "function": each} for each in (LIGHT, CONTEXT)]


def client_of(server: Server) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="sk-0000000000000000000", base_url=server.v1)


def asked(content: str) -> list[Any]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]


async def create(history: list[Any], is_streamed: bool, **more: Any) -> Any:
    return await client_of(SCRIPTED).chat.completions.create(
        messages=history,
        model=SCRIPTED.model,
        max_tokens=3000,
        top_p=1.0,
        temperature=0.7,
        user="01JCONVERSATION",
        stream=is_streamed,
        **more,
    )


async def streamed(history: list[Any], **more: Any) -> tuple[str, list[dict[str, str]]]:
    """Return text and calls of a stream, read as the entity reads it."""
    text = ""
    found: list[dict[str, Any]] = []
    async for chunk in await create(history, True, **more):
        if not chunk.choices or chunk.choices[0].finish_reason:
            continue
        delta = chunk.choices[0].delta
        text += delta.content or ""
        for call in delta.tool_calls or ():
            if not found or found[-1]["index"] != call.index:
                found.append({"index": call.index, "id": call.id, "name": call.function.name})
                found[-1]["arguments"] = ""
            found[-1]["arguments"] += call.function.arguments or ""
    return text, found


def answered(history: list[Any], call_id: str, name: str, arguments: str) -> list[Any]:
    """Return a conversation with a call and its result at its end."""
    function = {"name": name, "arguments": json.dumps(json.loads(arguments))}
    call = {"type": "function", "id": call_id, "function": function}
    result = json.dumps({"data": {}, "error": None})
    return [
        *history,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id, "content": result},
    ]


@calls.add("set-up", "models, then a question with a tool and 3 tokens, whole and streamed")
async def set_up() -> None:
    client = client_of(RING)
    page = await client.with_options(timeout=10.0).models.list()
    assert [model.id async for model in page] == [RING.model]
    function = {
        "name": "test_function",
        "description": "Test function.",
        "parameters": {"type": "object", "properties": {}},
    }
    probe: dict[str, Any] = {
        "model": RING.model,
        "messages": [
            {"role": "system", "content": "You are a helpful assistant."},
            {"role": "user", "content": "What is the capital of France?"},
        ],
        "tools": [{"type": "function", "function": function}],
        "max_tokens": 3,
    }
    reply = await client.chat.completions.create(**probe, stream=False)
    assert reply.choices[0].finish_reason == "length"
    reasons = [
        event.choices[0].finish_reason
        async for event in await client.chat.completions.create(**probe, stream=True)
        if event.choices
    ]
    assert reasons[-1] == "length"


@calls.add("a sentence", "a reply, without a call")
async def sentence() -> None:
    text, found = await streamed(asked("Hello"), tools=TOOLS)
    assert text and not found


@calls.add("a command, streamed", "a tool is called, its result goes back, then the answer")
async def command() -> None:
    _, (call,) = await streamed(asked(TURN_ON), tools=TOOLS)
    assert call["name"] == LIGHT["name"] and json.loads(call["arguments"])["name"]
    history = answered(asked(TURN_ON), call["id"], call["name"], call["arguments"])
    text, found = await streamed(history, tools=TOOLS)
    assert text.startswith("The result is") and not found


@calls.add("a command, whole", "the same without a stream")
async def whole_command() -> None:
    message = (await create(asked(TURN_ON), False, tools=TOOLS)).choices[0].message
    (call,) = message.tool_calls
    function = call.function
    history = answered(asked(TURN_ON), call.id, function.name, function.arguments)
    answer = (await create(history, False, tools=TOOLS)).choices[0].message
    assert answer.content.startswith("The result is") and not answer.tool_calls


@calls.add("an AI task", "data that fit a strict schema")
async def task() -> None:
    form = {"name": "lights", "strict": True, "schema": FORMAT_SCHEMA}
    text, _ = await streamed(
        asked("Which lights are on?"),
        response_format={"type": "json_schema", "json_schema": form},
    )
    assert set(json.loads(text)) == set(FORMAT_SCHEMA["properties"])


if __name__ == "__main__":
    calls.run()

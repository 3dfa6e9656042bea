"""The openai package: chat, completions and responses."""

from __future__ import annotations

import openai
from calls import RING, Calls, Server

calls = Calls("openai (Python)", "openai")
HELLO = [{"role": "user", "content": "Hello"}]


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
    import asyncio

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


if __name__ == "__main__":
    calls.run()

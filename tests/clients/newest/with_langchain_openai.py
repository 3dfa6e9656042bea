"""langchain-openai: ChatOpenAI."""

from __future__ import annotations

from typing import Any

from calls import RING, Calls, Server
from langchain_openai import ChatOpenAI

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


if __name__ == "__main__":
    calls.run()

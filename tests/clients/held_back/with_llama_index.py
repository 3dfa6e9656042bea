"""llama-index: OpenAILike."""

from __future__ import annotations

from calls import RING, Calls, Server
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

calls = Calls("llama-index", "llama-index-llms-openai-like")
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


if __name__ == "__main__":
    calls.run()

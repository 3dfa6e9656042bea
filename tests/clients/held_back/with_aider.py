"""aider 0.86.2's calls: what its models.py gives to litellm, in the version that aider pins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import litellm
from calls import RING, Calls

calls = Calls("aider 0.86.2's litellm", "litellm")
MESSAGES = [
    {"role": "system", "content": "Act as an expert software developer."},
    {"role": "user", "content": "I switched to a new code base."},
    {"role": "assistant", "content": "Ok."},
    {"role": "user", "content": "Hello"},
]


def ask(kind: str, base: str, messages: list[Any], **more: Any) -> Any:
    """Ask as aider does: at temperature 0, with ten minutes of patience."""
    return litellm.completion(
        model=f"{kind}/{RING.model}",
        temperature=0,
        timeout=600,
        messages=messages,
        api_base=base,
        **more,
    )


def text_of(chunks: Iterable[Any]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@calls.add("`openai/MODEL`, streamed", "an edit, at temperature 0 and with aider's headers")
def chat() -> None:
    assert text_of(ask("openai", RING.v1, MESSAGES, stream=True, api_key="none"))


@calls.add("`openai/MODEL`, whole", "a commit message, as its weak model writes it")
def whole_chat() -> None:
    reply = ask("openai", RING.v1, MESSAGES[-1:], stream=False, api_key="none")
    assert reply.choices[0].message.content


@calls.add("`ollama_chat/MODEL`, streamed", "an edit through Ollama's protocol, with `num_ctx`")
def ollama() -> None:
    assert text_of(ask("ollama_chat", RING.url, MESSAGES, stream=True, num_ctx=8300))


if __name__ == "__main__":
    calls.run()

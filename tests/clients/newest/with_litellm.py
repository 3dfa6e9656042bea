"""litellm, as a client of each protocol that it speaks."""

from __future__ import annotations

import litellm
from calls import RING, Calls

calls = Calls("litellm", "litellm")
HELLO = [{"role": "user", "content": "Hello"}]
OPENAI = {"model": f"openai/{RING.model}", "api_base": RING.v1, "api_key": "none", "num_retries": 0}


@calls.add('`completion(model="openai/…")`', "a reply and its usage")
def chat() -> None:
    reply = litellm.completion(**OPENAI, messages=HELLO)
    assert reply.choices[0].message.content and reply.usage.completion_tokens


@calls.add('`completion(model="openai/…", stream=True)`', "a reply in pieces")
def streamed_chat() -> None:
    chunks = list(litellm.completion(**OPENAI, messages=HELLO, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


if __name__ == "__main__":
    calls.run()

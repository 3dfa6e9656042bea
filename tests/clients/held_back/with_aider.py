"""aider 0.86.2's calls: what its models.py gives to litellm, in the version that aider pins."""

from __future__ import annotations

import litellm
from calls import RING, Calls

calls = Calls("aider 0.86.2's litellm", "litellm")
MESSAGES = [
    {"role": "system", "content": "Act as an expert software developer."},
    {"role": "user", "content": "I switched to a new code base."},
    {"role": "assistant", "content": "Ok."},
    {"role": "user", "content": "Hello"},
]


@calls.add("`openai/MODEL`, streamed", "an edit, at temperature 0 and with aider's headers")
def chat() -> None:
    chunks = list(
        litellm.completion(
            model=f"openai/{RING.model}",
            stream=True,
            temperature=0,
            timeout=600,
            messages=MESSAGES,
            api_base=RING.v1,
            api_key="none",
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


@calls.add("`openai/MODEL`, whole", "a commit message, as its weak model writes it")
def whole_chat() -> None:
    reply = litellm.completion(
        model=f"openai/{RING.model}",
        stream=False,
        temperature=0,
        timeout=600,
        messages=MESSAGES[-1:],
        api_base=RING.v1,
        api_key="none",
    )
    assert reply.choices[0].message.content


@calls.add("`ollama_chat/MODEL`, streamed", "an edit through Ollama's protocol, with `num_ctx`")
def ollama() -> None:
    chunks = list(
        litellm.completion(
            model=f"ollama_chat/{RING.model}",
            stream=True,
            temperature=0,
            num_ctx=8300,
            timeout=600,
            messages=MESSAGES,
            api_base=RING.url,
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


if __name__ == "__main__":
    calls.run()

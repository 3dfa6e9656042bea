"""Log probabilities as OpenAI's two APIs write them."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from bramble.wire.messages import TokenLogprob

FLOOR = -9999.0  # what OpenAI sends for a token that cannot be; JSON has no -Infinity


class TokenOffsets:
    """Counts characters over tokens that may end within one."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._num_characters = 0

    def place(self, token: list[int]) -> int:
        """Return where this token begins in the text."""
        offset = self._num_characters
        self._num_characters += len(self._decoder.decode(bytes(token)))
        return offset


def of_chat(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
    if not logprobs:
        return None
    content = [
        {
            "token": one.token,
            "bytes": one.bytes,
            "logprob": _finite(one.logprob),
            "top_logprobs": [{**top, "logprob": _finite(top["logprob"])} for top in one.top],
        }
        for one in logprobs
    ]
    return {"content": content, "refusal": None}


def of_text(logprobs: Sequence[TokenLogprob], offsets: TokenOffsets) -> dict[str, Any] | None:
    if not logprobs:
        return None
    return {
        "tokens": [one.token for one in logprobs],
        "token_logprobs": [_finite(one.logprob) for one in logprobs],
        "top_logprobs": [_top_of(one) for one in logprobs] if logprobs[0].top else None,
        "text_offset": [offsets.place(one.bytes) for one in logprobs],
    }


def _top_of(one: TokenLogprob) -> dict[str, float]:
    top = {alternative["token"]: _finite(alternative["logprob"]) for alternative in one.top}
    return top | {one.token: _finite(one.logprob)}


def _finite(logprob: float) -> float:
    return logprob if logprob > FLOOR else FLOOR  # NaN too compares false

"""How a choice looks in JSON: in the chat API and in the older text completions.

Pure: from texts and log probabilities to dictionaries, whole and as the parts of a stream.
"""

from __future__ import annotations

import codecs
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Protocol

from bramble.wire.messages import TokenLogprob

Choice = dict[str, Any]
LOGPROB_FLOOR = -9999.0  # what OpenAI sends for a token that cannot be; JSON has no -Infinity


class Shape(Protocol):
    id_prefix: str
    whole_object: str
    chunk_object: str

    def opening(self, index: int) -> Choice | None:
        """Return the choice of the chunk before any text, if there is one."""
        ...

    def delta(self, index: int, text: str, logprobs: Sequence[TokenLogprob]) -> Choice: ...

    def finish(self, index: int, reason: str) -> Choice: ...

    def whole(
        self, index: int, text: str, logprobs: Sequence[TokenLogprob], reason: str
    ) -> Choice: ...


class ChatShape:
    id_prefix = "chatcmpl-"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def opening(self, index: int) -> Choice | None:
        return self._chunk(index, {"role": "assistant", "content": ""}, (), None)

    def delta(self, index: int, text: str, logprobs: Sequence[TokenLogprob]) -> Choice:
        return self._chunk(index, {"content": text}, logprobs, None)

    def finish(self, index: int, reason: str) -> Choice:
        return self._chunk(index, {}, (), reason)

    def whole(self, index: int, text: str, logprobs: Sequence[TokenLogprob], reason: str) -> Choice:
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": _chat_logprobs(logprobs),
            "finish_reason": reason,
        }

    def _chunk(
        self,
        index: int,
        delta: dict[str, str],
        logprobs: Sequence[TokenLogprob],
        reason: str | None,
    ) -> Choice:
        return {
            "index": index,
            "delta": delta,
            "logprobs": _chat_logprobs(logprobs),
            "finish_reason": reason,
        }


class TextShape:
    """Remembers where in each choice's text its next token begins."""

    id_prefix = "cmpl-"
    whole_object = "text_completion"
    chunk_object = "text_completion"

    def __init__(self, echoes: Sequence[str]) -> None:
        self._echoes = echoes  # per choice
        self._offsets: defaultdict[int, TokenOffsets] = defaultdict(TokenOffsets)

    def opening(self, index: int) -> Choice | None:
        echo = self._echoes[index]
        return self._choice(index, echo, (), None) if echo else None

    def delta(self, index: int, text: str, logprobs: Sequence[TokenLogprob]) -> Choice:
        return self._choice(index, text, logprobs, None)

    def finish(self, index: int, reason: str) -> Choice:
        return self._choice(index, "", (), reason)

    def whole(self, index: int, text: str, logprobs: Sequence[TokenLogprob], reason: str) -> Choice:
        return self._choice(index, self._echoes[index] + text, logprobs, reason)

    def _choice(
        self, index: int, text: str, logprobs: Sequence[TokenLogprob], reason: str | None
    ) -> Choice:
        return {
            "index": index,
            "text": text,
            "logprobs": self._logprobs(index, logprobs),
            "finish_reason": reason,
        }

    def _logprobs(self, index: int, logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not logprobs:
            return None
        offsets = self._offsets[index]
        return {
            "tokens": [one.token for one in logprobs],
            "token_logprobs": [_finite(one.logprob) for one in logprobs],
            "top_logprobs": [_top_of(one) for one in logprobs] if logprobs[0].top else None,
            "text_offset": [offsets.place(one.bytes) for one in logprobs],
        }


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


def _chat_logprobs(logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
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


def _top_of(one: TokenLogprob) -> dict[str, float]:
    top = {alternative["token"]: _finite(alternative["logprob"]) for alternative in one.top}
    return top | {one.token: _finite(one.logprob)}


def _finite(logprob: float) -> float:
    return logprob if logprob > LOGPROB_FLOOR else LOGPROB_FLOOR  # NaN too compares false

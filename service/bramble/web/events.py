"""Server-sent events of a streamed reply, as OpenAI sends them.

While a prompt waits or is read, comments keep the connection alive and tell how far it is:
`: progress {"queue_position":0,"prefilled_tokens":128,"prompt_tokens":900}`. Where there is nothing
else to say for COMMENT_S, `: waiting {"silent_s":12}` tells for how long no head has answered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from bramble.errors import BrambleError
from bramble.head.client import Event, Pulse
from bramble.web.choices import Choices
from bramble.web.errors import describe
from bramble.web.reply import Reply
from bramble.web.tally import Tally
from bramble.wire.messages import Delta, Done, Progress

DONE = b"data: [DONE]\n\n"
COMMENT_S = 4.0  # proxies and clients give up a connection that is silent, some after 15 s
# A proxy in between must neither keep nor gather the events (X-Accel-Buffering: nginx).
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventWriter:
    """Writes the events of one reply; `includes_usage` adds OpenAI's usage members."""

    def __init__(
        self,
        reply: Reply,
        tally: Tally,
        includes_usage: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._reply = reply
        self._tally = tally
        self._members: dict[str, Any] = {"usage": None} if includes_usage else {}
        self._opened: set[int] = set()
        self._clock = clock
        self._wrote_at = clock()

    def write(self, choices: Choices) -> Iterator[bytes]:
        """Yield the whole stream; an error after its start becomes its last event."""
        yield _comment("accepted", {"prompt_tokens": sum(choices.prompt_tokens)})
        try:
            for index, event in choices:
                written = b"".join(self._event(index, event))
                if written or self._clock() - self._wrote_at >= COMMENT_S:
                    self._wrote_at = self._clock()
                    yield written or _waiting(event)
        except BrambleError as error:
            yield _data(describe(error))
            return
        if self._tally.is_complete:
            yield from self._ending()

    def _event(self, index: int, event: Event) -> Iterator[bytes]:
        if isinstance(event, Progress):
            yield _progress(event)
        elif isinstance(event, Delta):
            yield from self._opening(index)
            if event.text or event.logprobs:
                choice = self._reply.shape.delta(index, event.text, event.logprobs)
                yield _data(self._reply.chunk([choice], **self._members))
        elif isinstance(event, Done):
            yield from self._opening(index)
            self._tally.add(index, event)
            yield _data(self._reply.last_chunk(index, event) | self._members)

    def _opening(self, index: int) -> Iterator[bytes]:
        if index in self._opened:
            return
        self._opened.add(index)
        choice = self._reply.shape.opening(index)
        if choice is not None:
            yield _data(self._reply.chunk([choice], **self._members))

    def _ending(self) -> Iterator[bytes]:
        if self._members:
            yield _data(self._reply.chunk([], usage=self._tally.usage()))
        yield DONE


def _progress(event: Progress) -> bytes:
    names = ("queue_position", "prefilled_tokens", "prompt_tokens")
    return _comment("progress", {name: getattr(event, name) for name in names})


def _waiting(event: Event) -> bytes:
    silent_s = event.silent_s if isinstance(event, Pulse) else 0.0
    return _comment("waiting", {"silent_s": round(silent_s)})


def _comment(word: str, document: dict[str, Any]) -> bytes:
    return b": " + word.encode() + b" " + _json(document) + b"\n\n"


def _data(document: dict[str, Any]) -> bytes:
    return b"data: " + _json(document) + b"\n\n"


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")

"""Server-sent events of a streamed reply, as OpenAI sends them, each with an id (place.py).

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
from bramble.web.place import Place, spell
from bramble.web.reply import Reply, open_reply
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Delta, Done, Progress

DONE = b"data: [DONE]\n\n"
COMMENT_S = 4.0  # proxies and clients give up a connection that is silent, some after 15 s
# A proxy in between must neither keep nor gather the events (X-Accel-Buffering: nginx).
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventWriter:
    """Writes the events of one reply that are behind a place.

    count  hears of every choice that is done
    """

    def __init__(
        self,
        choices: Choices,
        place: Place,
        count: Callable[[Done], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._choices = choices
        self._place = place
        self._count = count
        self._clock = clock
        self._wrote_at = clock()
        self._positions: list[int] = []

    def begin(self, accepted: Accepted) -> None:
        """Hear who replies. Raises BadInput or ReplyNotFound for a place in another reply."""
        about = self._choices.about
        assert about is not None
        self._place.check(accepted.mark, about.num_choices)
        self._mark = accepted.mark
        self._reply: Reply = open_reply(about, accepted)
        self._members: dict[str, Any] = {"usage": None} if about.includes_usage else {}
        self._tally = Tally(about.num_choices, about.choices_per_prompt, self._count)
        self._positions = [0] * about.num_choices

    def write(self) -> Iterator[bytes]:
        """Yield the whole stream; an error after its start becomes its last event."""
        yield (
            self._accepted() if self._choices.is_accepted else _comment("waiting", {"silent_s": 0})
        )
        try:
            for index, event in self._choices:
                written = b"".join(self._event(index, event))
                if written or self._clock() - self._wrote_at >= COMMENT_S:
                    self._wrote_at = self._clock()
                    yield written or _waiting(event)
        except BrambleError as error:
            yield b"data: " + _json(describe(error)) + b"\n\n"
            return
        if self._positions and self._tally.is_complete:
            yield from self._ending()

    def _event(self, index: int, event: Event) -> Iterator[bytes]:
        if isinstance(event, Accepted):
            if not self._positions:
                self.begin(event)
            if self._choices.is_accepted:
                yield self._accepted()
        elif isinstance(event, Progress):
            yield _progress(event)
        elif isinstance(event, Delta):
            yield from self._opening(index)
            self._positions[index] += len(event.token_ids)
            if event.text or event.logprobs:
                choice = self._reply.shape.delta(index, event.text, event.logprobs)
                yield self._data(index, self._reply.chunk([choice], **self._members))
        elif isinstance(event, Done):
            yield from self._opening(index)
            self._positions[index] += 1
            self._tally.add(index, event)
            yield self._data(index, self._reply.last_chunk(index, event) | self._members)

    def _opening(self, index: int) -> Iterator[bytes]:
        if self._positions[index]:
            return
        self._positions[index] = 1
        choice = self._reply.shape.opening(index)
        if choice is not None:
            yield self._data(index, self._reply.chunk([choice], **self._members))

    def _ending(self) -> Iterator[bytes]:
        self._positions[0] += 1
        if self._members:
            yield self._data(0, self._reply.chunk([], usage=self._tally.usage()))
        yield DONE

    def _data(self, index: int, document: dict[str, Any]) -> bytes:
        """Return an event of one choice, nothing if the client has it already."""
        if self._positions[index] <= self._place.position(index):
            return b""
        written_id = spell(self._positions, self._mark).encode()
        return b"id: " + written_id + b"\ndata: " + _json(document) + b"\n\n"

    def _accepted(self) -> bytes:
        return _comment("accepted", {"prompt_tokens": self._choices.num_prompt_tokens})


def _progress(event: Progress) -> bytes:
    names = ("queue_position", "prefilled_tokens", "prompt_tokens")
    return _comment("progress", {name: getattr(event, name) for name in names})


def _waiting(event: Event) -> bytes:
    silent_s = event.silent_s if isinstance(event, Pulse) else 0.0
    return _comment("waiting", {"silent_s": round(silent_s)})


def _comment(word: str, document: dict[str, Any]) -> bytes:
    return b": " + word.encode() + b" " + _json(document) + b"\n\n"


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")

"""The stream of a reply, in the shape of its dialect; each event has an id (place.py).

While a prompt waits or is read, something keeps the connection alive and tells how far it is. Of
OpenAI's dialects these are comments:
`: progress {"queue_position":0,"prefilled_tokens":128,"prompt_tokens":900}`. Where there is nothing
else to say for COMMENT_S, `: waiting {"silent_s":12}` tells for how long no head has answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from bramble.errors import BrambleError
from bramble.head.client import Event, Pulse
from bramble.web import dialect as seam
from bramble.web.about import About
from bramble.web.choices import Choices
from bramble.web.dialects import named
from bramble.web.framing import frame, frame_alive
from bramble.web.part import Part, open_parts
from bramble.web.place import Place, spell
from bramble.web.problem import problem_of
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Delta, Done, Progress

COMMENT_S = 4.0  # proxies and clients give up a connection that is silent, some after 15 s
# A proxy in between must neither keep nor gather the events (X-Accel-Buffering: nginx).
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


class EventWriter:
    """Writes the events of one reply that are behind a place.

    dialect  until the reply is known, which says its own
    count    hears of every choice that is done
    open     makes what reads the text of each choice
    """

    def __init__(
        self,
        dialect: seam.Dialect,
        choices: Choices,
        place: Place,
        count: Callable[[Done], None],
        clock: Callable[[], float] = time.monotonic,
        open: Callable[[About, Accepted], list[Part]] = open_parts,
    ) -> None:
        self._dialect = dialect
        self._choices = choices
        self._place = place
        self._count = count
        self._clock = clock
        self._open = open
        self._wrote_at = clock()
        self._positions: list[int] = []
        self._writer: seam.Writer | None = None
        self._has_numbered = False

    def begin(self, accepted: Accepted) -> None:
        """Hear who replies. Raises BadInput or ReplyNotFound for a place in another reply."""
        about = self._choices.about
        assert about is not None
        self._place.check(accepted.mark, about.num_choices)
        self._mark = accepted.mark
        self._dialect = named(about.kind)
        self._writer = self._dialect.writer(about, accepted)
        self._parts = self._open(about, accepted)
        self._tally = Tally(about.num_choices, about.choices_per_prompt, self._count)
        self._positions = [0] * about.num_choices

    def write(self) -> Iterator[bytes]:
        """Yield the whole stream; an error after its start becomes its last event."""
        is_accepted = self._choices.is_accepted
        yield self._accepted() if is_accepted else self._alive("waiting", silent_s=0)
        try:
            for index, event in self._choices:
                written = b"".join(self._event(index, event))
                if written or self._clock() - self._wrote_at >= COMMENT_S:
                    self._wrote_at = self._clock()
                    yield written or self._waiting(event)
        except BrambleError as error:
            teller = self._writer or self._dialect
            yield frame(self._dialect, [*teller.failure(problem_of(error))])
            return
        if self._writer and self._tally.is_complete:
            yield self._next(0, self._writer.ending(self._parts, self._tally))

    def _event(self, index: int, event: Event) -> Iterator[bytes]:
        if isinstance(event, Accepted):
            if self._writer is None:
                self.begin(event)
            if self._choices.is_accepted:
                yield self._accepted()
        elif isinstance(event, Progress):
            yield self._progress(event)
        elif isinstance(event, Delta):
            yield from self._delta(index, event)
        elif isinstance(event, Done):
            yield from self._done(index, event)

    def _delta(self, index: int, delta: Delta) -> Iterator[bytes]:
        assert self._writer is not None
        yield from self._opening(index)
        self._positions[index] += len(delta.token_ids)
        pieces = self._parts[index].add(delta)
        if pieces or delta.logprobs:
            yield self._numbered(index, self._writer.delta(index, pieces, delta.logprobs))

    def _done(self, index: int, done: Done) -> Iterator[bytes]:
        assert self._writer is not None
        yield from self._opening(index)
        if held_back := self._parts[index].end(done):
            yield self._next(index, self._writer.delta(index, held_back, ()))
        self._tally.add(index, done)
        yield self._next(index, self._writer.done(index, self._parts[index]))

    def _opening(self, index: int) -> Iterator[bytes]:
        assert self._writer is not None
        if not self._positions[index]:
            yield self._next(index, self._writer.opening(index))

    def _next(self, index: int, events: Iterable[seam.Event]) -> bytes:
        self._positions[index] += 1
        return self._numbered(index, events)

    def _numbered(self, index: int, events: Iterable[seam.Event]) -> bytes:
        """Return events at one position of a choice, save those that the client has already."""
        written = [*events]  # a writer is called in any case: it may count
        if self._positions[index] <= self._place.position(index):
            written = [event for event in written if isinstance(event.data, str)]
        self._has_numbered = self._has_numbered or bool(written)
        return frame(self._dialect, written, spell(self._positions, self._mark))

    def _accepted(self) -> bytes:
        return self._alive("accepted", prompt_tokens=self._choices.num_prompt_tokens)

    def _progress(self, event: Progress) -> bytes:
        names = ("queue_position", "prefilled_tokens", "prompt_tokens")
        return self._alive("progress", **{name: getattr(event, name) for name in names})

    def _waiting(self, event: Event) -> bytes:
        silent_s = event.silent_s if isinstance(event, Pulse) else 0.0
        return self._alive("waiting", silent_s=round(silent_s))

    def _alive(self, word: str, **figures: int) -> bytes:
        return frame_alive(self._dialect, word, figures, self._has_numbered)

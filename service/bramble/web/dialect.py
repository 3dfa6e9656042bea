"""The seam between the HTTP protocols and the head: what a protocol says of itself.

A dialect knows one protocol: how its body is read, how its reply looks as a stream and as a whole,
and how its errors look. It is pure: no Flask, no sockets, no clock. `completion.py` asks the head,
reads the reply's text into pieces (`model/replies.py`), numbers and frames the events.

To add one:
1. `NAME_read.py`: from a JSON object to `Asked`. Raise BadInput with the parameter's path.
2. `NAME.py`: the Writer, and the Dialect that holds both together.
3. `dialects.py`: add an instance to DIALECTS. Errors below its `paths` take its shape from then on.
4. `NAME_api.py`: a blueprint whose routes call `complete(DIALECT, read_document())`; app.py
   registers it. Routes that a reply is come back for call `come_back` and `end`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from bramble.model.replies import Piece
from bramble.web.about import About
from bramble.web.part import Part
from bramble.web.problem import Problem
from bramble.web.tally import Tally
from bramble.wire.messages import Accepted, Generate, TokenLogprob

EVENT_STREAM = "text/event-stream"
JSON_LINES = "application/x-ndjson"
MAX_CHOICES = 8  # replies of one HTTP request; each takes a row of the KV cache


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a stream.

    data  a JSON object; a text such as [DONE] is sent as it is, and to everybody
    name  of a server-sent event, where the protocol names them
    """

    data: dict[str, Any] | str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """What clients skip; there are none in lines of JSON."""

    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One HTTP request, checked. `requests` holds one Generate per choice, prompts outermost.

    They name the sampling parameters that were chosen: the rest is for the head to look up.
    A seed that nobody chose is drawn by whoever reads the request, so that it goes on the same
    after it was resubmitted; is_seeded is then false.
    """

    requests: tuple[Generate, ...]
    is_streamed: bool
    choices_per_prompt: int = 1
    shown: dict[str, Any] = field(default_factory=dict)  # for the writer, in About: JSON values
    ignored: tuple[str, ...] = ()  # parameters without effect here, named in a header
    has_inline_thoughts: bool | None = False  # thoughts stand in the text; None = as web.yml says


class Writer(Protocol):
    """Writes one HTTP reply, streamed or whole; of a stream it is called in the order of events.

    Whoever reads a stream again from its middle has all of it written again and the first events
    left out. So the events have to follow from About, Accepted and the pieces alone.
    """

    def opening(self, index: int) -> Iterable[Event]:
        """Begin a choice: before its first piece."""
        ...

    def delta(
        self, index: int, pieces: Sequence[Piece], logprobs: Sequence[TokenLogprob]
    ) -> Iterable[Event]:
        """Write what came with one or more tokens; one of both may be empty.

        A client whose connection broke between two events of one call gets both again. So make
        one event of the pieces where the protocol can say them in one.
        """
        ...

    def done(self, index: int, part: Part) -> Iterable[Event]:
        """End a choice; part.done says why it ended."""
        ...

    def ending(self, parts: Sequence[Part], tally: Tally) -> Iterable[Event]:
        """End the stream, once every choice is done."""
        ...

    def failure(self, problem: Problem) -> Iterable[Event]:
        """Tell of an error that ends the stream."""
        ...

    def whole(self, parts: Sequence[Part], tally: Tally) -> dict[str, Any]:
        """Return the whole reply, of a request that is not streamed."""
        ...


class Dialect(Protocol):
    """One protocol: an instance without state."""

    name: str  # stands in About.kind: a reply is shown in the way it was asked for
    id_prefix: str  # of the reply's id, before 32 hex digits
    media_type: str  # of a stream: EVENT_STREAM or JSON_LINES
    paths: tuple[str, ...]  # beginnings of the URLs whose errors it shapes; the longest counts

    def read(self, document: dict[str, Any]) -> Asked:
        """Check a body. Raises BadInput."""
        ...

    def writer(self, about: About, accepted: Accepted) -> Writer: ...

    def alive(self, word: str, figures: dict[str, Any]) -> Event | Comment | None:
        """Return what keeps a stream alive while there is no text, if the protocol has something.

        word  waiting (figures: silent_s), accepted (prompt_tokens) or progress (queue_position,
              prefilled_tokens, prompt_tokens)
        """
        ...

    def error(self, problem: Problem) -> dict[str, Any]:
        """Return the body of an error."""
        ...

    def failure(self, problem: Problem) -> Iterable[Event]:
        """Tell of an error in a stream that began before anybody had accepted the request."""
        ...

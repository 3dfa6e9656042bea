"""One choice of a reply while it grows: its text, read into what is said, thought and called."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bramble.model.replies import (
    Arguments,
    Call,
    Piece,
    PlainReader,
    ReplyReader,
    Said,
    Thought,
    open_reader,
)
from bramble.model.replies.json_text import is_whole
from bramble.web.about import About
from bramble.wire.messages import Accepted, Delta, Done, TokenLogprob

# Around thoughts in the text, by (was a thought before, is one now); readers leave out blanks there
_TAGS = {(False, True): "<think>\n", (True, False): "\n</think>\n\n"}


@dataclass(frozen=True, slots=True)
class Called:
    """One call of a tool, in all."""

    index: int  # from 0, within its choice
    name: str
    arguments: str  # JSON, as the model wrote it


@dataclass(slots=True)
class Part:
    reader: ReplyReader
    pieces: list[Piece] = field(default_factory=list)  # in the order they came
    logprobs: list[TokenLogprob] = field(default_factory=list)
    done: Done | None = None

    def add(self, delta: Delta) -> list[Piece]:
        """Take the next tokens; return what they give."""
        self.logprobs.extend(delta.logprobs)
        return self._keep(self.reader.push(delta.text) if delta.text else [])

    def end(self, done: Done) -> list[Piece]:
        """Take the end; return what the reader held back."""
        self.done = done
        return self._keep(self.reader.end())

    @property
    def said(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Said))

    @property
    def thought(self) -> str:
        return "".join(piece.text for piece in self.pieces if isinstance(piece, Thought))

    @property
    def calls(self) -> list[Called]:
        return [
            Called(piece.index, piece.name, self._arguments(piece.index))
            for piece in self.pieces
            if isinstance(piece, Call)
        ]

    @property
    def finish(self) -> str:
        """Why it ended: stop, length, or tool_calls where it stopped behind a call.

        One that ended amid a call's arguments, at a stop string, is no call to be carried out.
        """
        assert self.done is not None
        finish, calls = str(self.done.finish), self.calls
        is_call = finish == "stop" and calls and is_whole(calls[-1].arguments)
        return "tool_calls" if is_call else finish

    def _arguments(self, index: int) -> str:
        some = (piece for piece in self.pieces if isinstance(piece, Arguments))
        return "".join(piece.text for piece in some if piece.index == index)

    def _keep(self, pieces: Sequence[Piece]) -> list[Piece]:
        kept = merged(pieces)
        self.pieces.extend(kept)
        return kept


class InlineReader:
    """Says what another reader takes for a thought, in <think>…</think>."""

    def __init__(self, reader: ReplyReader) -> None:
        self._reader = reader
        self._is_thinking = False

    def push(self, text: str) -> list[Piece]:
        return [inlined for piece in self._reader.push(text) for inlined in self._inline(piece)]

    def end(self) -> list[Piece]:
        return [inlined for piece in self._reader.end() for inlined in self._inline(piece)]

    def _inline(self, piece: Piece) -> list[Piece]:
        is_thought, was_thought = isinstance(piece, Thought), self._is_thinking
        self._is_thinking = is_thought
        tag = _TAGS.get((was_thought, is_thought))
        tags: list[Piece] = [Said(tag)] if tag else []
        return [*tags, Said(piece.text) if isinstance(piece, Thought) else piece]


def open_parts(about: About, accepted: Accepted) -> list[Part]:
    """Return a part per choice, of which each reads the reply's text from its beginning."""
    return [Part(_open_reader(about, accepted)) for _ in range(about.num_choices)]


def merged(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbours of one kind, and leave out what is empty, save a call without arguments."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, Said) and isinstance(last, Said):
            joined[-1] = Said(last.text + piece.text)
        elif isinstance(piece, Thought) and isinstance(last, Thought):
            joined[-1] = Thought(last.text + piece.text)
        elif isinstance(piece, Arguments) and isinstance(last, Arguments):
            if last.index == piece.index:
                joined[-1] = Arguments(last.index, last.text + piece.text)
            else:
                joined.append(piece)
        elif isinstance(piece, Call) or piece.text:
            joined.append(piece)
    return joined


def call_digits(about: About, choice: int, call: int) -> str:
    """Return what follows the prefix in the id of a call: the same whenever the reply is read."""
    return hashlib.sha256(f"{about.name}-{choice}-{call}".encode()).hexdigest()[:24]


def _open_reader(about: About, accepted: Accepted) -> ReplyReader:
    if not about.is_chat:
        return PlainReader()
    reader = open_reader(accepted.reply_format, about.has_tools)
    return InlineReader(reader) if about.has_inline_thoughts else reader

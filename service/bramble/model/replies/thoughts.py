"""The thought that a reply begins with, taken from what follows."""

from __future__ import annotations

from bramble.model.replies.calls import num_undecided
from bramble.model.replies.pieces import Piece, ReplyReader, Said, Thought

TAGS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))  # the second of Mistral's models


class ThoughtReader:
    """A thought stands at the beginning of a reply, between tags; one without an end goes on to
    the reply's. The whitespace around it belongs to neither.
    """

    def __init__(self, rest: ReplyReader) -> None:
        self._rest = rest  # reads what follows
        self._mode = self._read_start
        self._pending = ""
        self._close = ""
        self._has_begun = False
        self._pieces: list[Piece] = []

    def push(self, text: str) -> list[Piece]:
        self._pending += text
        while self._pending and self._mode():
            pass
        pieces, self._pieces = self._pieces, []
        return pieces

    def end(self) -> list[Piece]:
        if self._mode == self._read_start:
            self._mode = self._read_rest
            self._read_rest()
        elif self._mode == self._read_thought and self._pending:
            self._pieces.append(Thought(self._pending))
        pieces, self._pieces = [*self._pieces, *self._rest.end()], []
        self._pending = ""
        return pieces

    @property
    def has_thought(self) -> bool | None:
        """Whether the reply begins with a thought; None = not known yet."""
        return bool(self._close) if self._close or self._mode == self._read_rest else None

    @property
    def is_thinking(self) -> bool:
        """True until the thought has ended, or there is none."""
        return self._mode in (self._read_start, self._read_thought)

    def _read_start(self) -> bool:
        text = self._pending.lstrip()
        for opening, close in TAGS:
            if text.startswith(opening):
                self._close = close
                self._pending = text[len(opening) :]
                self._mode = self._read_thought
                return True
        if any(opening.startswith(text) for opening, _ in TAGS):
            return False
        self._mode = self._read_rest
        return True

    def _read_thought(self) -> bool:
        if not self._has_begun:
            self._pending = self._pending.lstrip()
        found = self._pending.find(self._close)
        if found >= 0:
            self._think(self._pending[:found].rstrip())
            self._pending = self._pending[found + len(self._close) :]
            self._mode = self._read_gap
            return True
        stop = len(self._pending) - num_undecided(self._pending, self._close)
        self._think(self._pending[:stop])
        self._pending = self._pending[stop:]
        return False

    def _think(self, text: str) -> None:
        if text:
            self._has_begun = True
            self._pieces.append(Thought(text))

    def _read_gap(self) -> bool:
        self._pending = self._pending.lstrip()
        if self._pending:
            self._mode = self._read_rest
        return bool(self._pending)

    def _read_rest(self) -> bool:
        text, self._pending = self._pending, ""
        self._pieces += self._rest.push(text) if text else []
        return False


class ThoughtCounter:
    """Counts the tokens of the thought that a reply begins with, those of its tags included."""

    def __init__(self, opening: str = "") -> None:
        """opening: what the template has written of the reply; no token of the model's"""
        self._reader = ThoughtReader(PlainReader())
        self._reader.push(opening)
        self._num_tokens = 0

    def add(self, text: str) -> None:
        """Take the next token, which has or completes this text. A thought's last token may have
        more than its end; it counts as the thought's."""
        if self._reader.is_thinking:
            self._num_tokens += 1
            self._reader.push(text)

    @property
    def num_tokens(self) -> int:
        return self._num_tokens if self._reader.has_thought else 0


class PlainReader:
    """All is said."""

    def push(self, text: str) -> list[Piece]:
        return [Said(text)] if text else []

    def end(self) -> list[Piece]:
        return []

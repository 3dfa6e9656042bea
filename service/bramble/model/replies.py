"""What a reply's text is made of: what is said, what is thought, and which tools are called.

A reader takes the text as it comes and gives pieces. What it cannot read is said: no word is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Said:
    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool begins; its arguments follow."""

    index: int  # from 0
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """The next part of a call's arguments, which are a JSON object in all."""

    index: int
    text: str


Piece = Said | Thought | Call | Arguments


class ReplyReader(Protocol):
    def push(self, text: str) -> list[Piece]:
        """Take the next text; return what is certain by now."""
        ...

    def end(self) -> list[Piece]:
        """Return what was held back."""
        ...


class PlainReader:
    """All is said."""

    def push(self, text: str) -> list[Piece]:
        return [Said(text)] if text else []

    def end(self) -> list[Piece]:
        return []


def open_reader(reply_format: str, has_tools: bool) -> ReplyReader:
    """Return a reader for one reply.

    reply_format  what Accepted said
    has_tools     the request offers tools: without, a call is only said
    """
    return PlainReader()

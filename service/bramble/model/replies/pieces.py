"""The pieces of a reply, and what gives them."""

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

"""A reply's pieces as blocks that follow one another: texts, thoughts and calls of tools.

Protocols whose replies are lists of typed blocks write them from here, whole and streamed alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from bramble.model.replies import Arguments, Call, Piece, Said


class Kind(Enum):
    TEXT = auto()
    THOUGHT = auto()
    CALL = auto()


@dataclass(slots=True)
class Block:
    index: int  # among the reply's blocks
    kind: Kind
    text: str = ""  # so far; of a call, its arguments
    call: int = 0  # the call's number among the reply's calls
    name: str = ""  # of the tool that is called


@dataclass(frozen=True, slots=True)
class Begun:
    block: Block


@dataclass(frozen=True, slots=True)
class Grown:
    block: Block
    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    block: Block


Change = Begun | Grown | Ended


class Blocks:
    """`push` pieces as they come, then `end`.

    White space alone is no text: it is held back until something is said behind it. A call without
    arguments has those of an empty object.
    """

    def __init__(self) -> None:
        self._open: Block | None = None
        self._count = 0
        self._space = ""

    def push(self, pieces: Iterable[Piece]) -> Iterator[Change]:
        for piece in pieces:
            match piece:
                case Call(number, name):
                    yield from self._begin(Block(self._count, Kind.CALL, call=number, name=name))
                case Arguments(number, text):
                    assert self._open is not None and self._open.call == number
                    yield from self._grow(text)
                case Said(text):
                    yield from self._say(text)
                case _:
                    yield from self._turn_to(Kind.THOUGHT, piece.text)

    def end(self) -> Iterator[Change]:
        """End the last block; a reply of white space alone is a text after all."""
        if not self._count and self._space:
            yield from self._turn_to(Kind.TEXT, self._space)
        yield from self._close()

    def _say(self, text: str) -> Iterator[Change]:
        is_open = self._open is not None and self._open.kind is Kind.TEXT
        self._space += text
        if not self._space:
            return
        if is_open or not self._space.isspace():
            yield from self._turn_to(Kind.TEXT, self._space)

    def _turn_to(self, kind: Kind, text: str) -> Iterator[Change]:
        if self._open is None or self._open.kind is not kind:
            yield from self._begin(Block(self._count, kind))
        self._space = ""
        yield from self._grow(text)

    def _begin(self, block: Block) -> Iterator[Change]:
        yield from self._close()
        self._space = ""
        self._open = block
        self._count += 1
        yield Begun(block)

    def _grow(self, text: str) -> Iterator[Change]:
        assert self._open is not None
        if text:
            self._open.text += text
            yield Grown(self._open, text)

    def _close(self) -> Iterator[Change]:
        if self._open is not None:
            if self._open.kind is Kind.CALL:
                yield from self._grow("" if self._open.text else "{}")
            yield Ended(self._open)
        self._open = None

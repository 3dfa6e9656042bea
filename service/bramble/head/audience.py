"""Who reads a reply, and how far each is. A reply can have several readers, or none for a while.

It knows no sockets: a reader is the name of its connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bramble.errors import Unavailable
from bramble.head.preparation import refusal
from bramble.head.record import Record
from bramble.wire.messages import Accepted, ClientMessage, Delta, Done, Generate, Refused, Resume

BATCH = 256  # most tokens of one event, to a reader who joins late

Send = Callable[[bytes, ClientMessage], bool]  # False if the reader is gone


@dataclass(slots=True)
class Reader:
    num_had: int  # tokens that it was sent, or came with
    border: int  # tokens that its own client has: no event crosses it
    knows_only_name: bool  # what was asked has to be told to it
    unproven: tuple[int, ...] = ()  # tokens of an earlier head's, until the record is as long


@dataclass(slots=True)
class Audience:
    """All readers of one request."""

    asked: Generate
    send: Send
    readers: dict[bytes, Reader] = field(default_factory=dict)
    record: Record | None = None  # from when it was accepted
    end: Done | Refused | None = None
    since: float | None = None  # when it was seen to have no reader, or ended
    is_left: bool = False  # its last reader went by itself, and was not lost
    can_return: bool = False  # a client has the means to come back, or has come back
    _accepted: Accepted | None = None

    def __post_init__(self) -> None:
        self.can_return = bool(self.asked.key)

    def join(self, peer: bytes, asked: Generate | Resume) -> None:
        """Send all that was said already, but what the reader has."""
        is_name = isinstance(asked, Resume)
        num_had = asked.num_had if isinstance(asked, Resume) else len(asked.generated)
        unproven = asked.generated if isinstance(asked, Generate) else ()
        self.readers[peer] = Reader(num_had, asked.received, is_name, unproven)
        self.is_left = False
        self.can_return = self.can_return or is_name
        if self._accepted is not None:
            self._tell(peer, self._greeting(self.readers[peer]))
            self._advance(peer)
        if self.end is not None:
            self._end(peer, is_repeat=True)

    def leave(self, peer: bytes) -> None:
        self.readers.pop(peer, None)
        self.is_left = not self.readers

    def differs(self, generated: tuple[int, ...]) -> bool:
        """True if a reader has other tokens than those that were said here."""
        said = () if self.record is None else tuple(self.record.token_ids[: len(generated)])
        return said != generated[: len(said)]

    def accept(self, accepted: Accepted, record: Record) -> None:
        self._accepted, self.record = accepted, record
        for peer, reader in list(self.readers.items()):
            self._tell(peer, self._greeting(reader))
        self.advance()

    def advance(self) -> None:
        """Send what was said since to every reader."""
        for peer in list(self.readers):
            self._advance(peer)

    def tell(self, event: ClientMessage) -> None:
        for peer in list(self.readers):
            self._tell(peer, event)

    def finish(self, end: Done | Refused) -> None:
        """Say how it ended; the first reader who hears it counts it, the others do not."""
        self.end = end
        is_repeat = False
        for peer in list(self.readers):
            is_repeat |= self._end(peer, is_repeat)

    def _end(self, peer: bytes, is_repeat: bool) -> bool:
        assert self.end is not None
        if isinstance(self.end, Done) and self.readers[peer].unproven:  # it has more than was said
            self._part(peer)
            return False
        end = replace(self.end, is_repeat=is_repeat) if isinstance(self.end, Done) else self.end
        is_heard = self._tell(peer, end)
        self.readers.pop(peer, None)
        return is_heard

    def _advance(self, peer: bytes) -> None:
        assert self.record is not None
        reader = self.readers[peer]
        if reader.unproven and self.differs(reader.unproven):
            self._part(peer)
            return
        if len(self.record) >= len(reader.unproven):
            reader.unproven = ()
        while peer in self.readers and (delta := _next(self.readers[peer], self.record)):
            self._tell(peer, delta)

    def _part(self, peer: bytes) -> None:
        """Tell a reader that what it has is not of this reply."""
        self._tell(peer, refusal(self.asked.request, went_another_way()))
        self.readers.pop(peer, None)

    def _greeting(self, reader: Reader) -> Accepted:
        assert self._accepted is not None
        asked = self.asked if reader.knows_only_name else None
        return replace(self._accepted, asked=asked)

    def _tell(self, peer: bytes, event: ClientMessage) -> bool:
        """Send an event; a reader that cannot be reached is one no longer."""
        if self.send(peer, event):
            return True
        self.readers.pop(peer, None)
        return False


def went_another_way() -> Unavailable:
    return Unavailable("this reply went on in another way; send the request again", 1)


def _next(reader: Reader, record: Record) -> Delta | None:
    start, stop = reader.num_had, min(len(record), reader.num_had + BATCH)
    if start >= stop:
        return None
    if start < reader.border < stop:
        stop = reader.border
    reader.num_had = stop
    return record.delta(start, stop)

"""Who reads a reply, and how far each is. A reply can have several readers, or none for a while.

It knows no sockets: a reader is the name of its connection.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bramble.head.record import Record
from bramble.wire.messages import (
    Accepted,
    ClientMessage,
    Delta,
    Done,
    Generate,
    Refused,
    Resume,
)

BATCH = 256  # tokens of one event to a reader who joins late

Send = Callable[[bytes, ClientMessage], bool]  # False if the reader is gone


@dataclass(slots=True)
class Reader:
    num_had: int = 0  # tokens that it was sent, or came with
    border: int = 0  # tokens that its own client has: no event crosses it
    knows_only_name: bool = False  # what was asked has to be told to it


@dataclass(slots=True)
class Audience:
    """All readers of one request."""

    asked: Generate
    send: Send
    readers: dict[bytes, Reader] = field(default_factory=dict)
    record: Record | None = None  # from when it was accepted
    end: Done | Refused | None = None
    since: float | None = None  # when its last reader was lost, or it has ended
    _accepted: Accepted | None = None

    def join(self, peer: bytes, asked: Generate | Resume) -> None:
        """Send all that was said already, but what the reader has."""
        if isinstance(asked, Resume):
            reader = Reader(border=asked.received, knows_only_name=True)
        else:
            reader = Reader(len(asked.generated), asked.received)
        self.readers[peer], self.since = reader, None
        if self._accepted is not None:
            self._tell(peer, self._greeting(reader))
        self.advance(only=peer)
        if self.end is not None:
            self._end(peer, is_repeat=True)

    def differs(self, generated: tuple[int, ...]) -> bool:
        """True if a reader has other tokens than those that were said here."""
        said = () if self.record is None else tuple(self.record.token_ids[: len(generated)])
        return said != generated[: len(said)]

    def accept(self, accepted: Accepted, record: Record) -> None:
        self._accepted, self.record = accepted, record
        for peer, reader in list(self.readers.items()):
            self._tell(peer, self._greeting(reader))
        self.advance()

    def advance(self, only: bytes | None = None) -> None:
        """Send what was said since to every reader, or to one."""
        if self.record is None:
            return
        for peer in list(self.readers) if only is None else [only]:
            while peer in self.readers and (delta := self._next(self.readers[peer], self.record)):
                self._tell(peer, delta)

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
        end = replace(self.end, is_repeat=is_repeat) if isinstance(self.end, Done) else self.end
        is_heard = self._tell(peer, end)
        self.readers.pop(peer, None)
        return is_heard

    def _next(self, reader: Reader, record: Record) -> Delta | None:
        start, stop = reader.num_had, min(len(record), reader.num_had + BATCH)
        if start >= stop:
            return None
        if start < reader.border < stop:
            stop = reader.border
        reader.num_had = stop
        return record.delta(start, stop)

    def _greeting(self, reader: Reader) -> Accepted:
        assert self._accepted is not None
        return replace(self._accepted, asked=self.asked) if reader.knows_only_name else self._accepted

    def _tell(self, peer: bytes, event: ClientMessage) -> bool:
        """Send an event; a reader that cannot be reached is one no longer."""
        if self.send(peer, event):
            return True
        self.readers.pop(peer, None)
        return False

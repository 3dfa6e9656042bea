"""Connects the members of one epoch's group with each other, whichever comes first.

A member calls all of lower rank and is called by all of higher rank; who does not answer is called
again. What is of another epoch, or of nobody's, is closed and counted.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import time
from collections.abc import Sequence

from bramble.errors import BadFrame
from bramble.stage.exchange.door import GREETING_S, Address, Door, Greeter, set_buffers
from bramble.stage.exchange.greeting import ANSWER, ASK, CONFIRM, Member
from bramble.stage.exchange.patience import Patience

RETRY_S = 0.05
LOOK_S = 0.02  # between looks at the clock


class Caller:
    """Our connection to one member of lower rank, made anew until it is believed."""

    def __init__(self, rank: int, address: Address) -> None:
        self.rank = rank
        self._family, self._address = address
        self._greeter: Greeter | None = None
        self._retry_at = 0.0

    @property
    def greeter(self) -> Greeter | None:
        return self._greeter

    @property
    def is_to_write(self) -> bool:
        """True until the connection is there and the first greeting is sent."""
        return self._greeter is not None and not self._greeter.said

    def advance(self, member: Member, now: float) -> tuple[socket.socket, bytes] | None:
        """Go on as far as that is possible now; return connection and salt once it is believed."""
        if self._greeter is not None and now - self._greeter.since > GREETING_S:
            self.hang_up(now)
        try:
            if self._greeter is None and now >= self._retry_at:
                self._call(now)
            if self._greeter is None:
                return None
            return self._talk(self._greeter, member)
        except (OSError, BadFrame):
            self.hang_up(now)
        return None

    def hang_up(self, now: float) -> None:
        if self._greeter is not None:
            self._greeter.close()
        self._greeter, self._retry_at = None, now + RETRY_S

    def _call(self, now: float) -> None:
        connection = socket.socket(self._family, socket.SOCK_STREAM)
        set_buffers(connection)
        self._greeter = Greeter(connection, now)
        with contextlib.suppress(BlockingIOError):
            connection.connect(self._address)

    def _talk(self, greeter: Greeter, member: Member) -> tuple[socket.socket, bytes] | None:
        if not greeter.said:
            if not _is_connected(greeter.connection):
                return None
            greeter.say(member.greet(ASK, self.rank, greeter.said))
        answer = greeter.hear()
        if answer is None:
            return None
        rank, salt = member.believe(answer, ANSWER, greeter.said)
        if rank != self.rank:
            raise BadFrame(f"rank {rank} answers for rank {self.rank}")
        greeter.said += answer
        greeter.say(member.greet(CONFIRM, self.rank, greeter.said))
        self._greeter = None
        return greeter.connection, salt


class Meeting:
    """The members that are still missing, until all are there."""

    def __init__(self, door: Door, member: Member, addresses: Sequence[Address]) -> None:
        """addresses  of all of lower rank than ours, in rank order: those are called"""
        self._door = door
        self._member = member
        self._callers = {rank: Caller(rank, addresses[rank]) for rank in range(member.rank)}
        self._salts: dict[int, bytes] = {}
        self._met: dict[int, socket.socket] = {}
        self._asked: dict[Greeter, int] = {}  # who has been answered, and as which rank

    @property
    def missing(self) -> list[int]:
        return [
            r for r in range(self._member.size) if r not in self._met and r != self._member.rank
        ]

    def hold(self, patience: Patience) -> dict[int, tuple[socket.socket, bytes]]:
        """Return connection and salt of each other member's rank.

        Raises Broken if one is missing for too long or set up otherwise, and what `alive` raises;
        nothing stays open then.
        """
        patience.begin()
        is_complete = False
        try:
            while self.missing:
                self._advance(time.monotonic())
                if self.missing:
                    self._wait()
                    patience.check(self.missing)
            is_complete = True
        finally:
            self._door.clear()
            for caller in self._callers.values():
                caller.hang_up(0.0)
            if not is_complete:
                for connection in self._met.values():
                    connection.close()
        return {rank: (connection, self._salts[rank]) for rank, connection in self._met.items()}

    def _advance(self, now: float) -> None:
        for rank, caller in self._callers.items():
            if rank not in self._met and (met := caller.advance(self._member, now)):
                self._met[rank], self._salts[rank] = met
        self._door.admit(now)
        for stranger in list(self._door.strangers):
            try:
                self._listen_to(stranger)
            except (OSError, BadFrame):
                self._door.drop(stranger)

    def _listen_to(self, stranger: Greeter) -> None:
        heard = stranger.hear()
        if heard is None:
            return
        kind = CONFIRM if stranger in self._asked else ASK
        rank, salt = self._member.believe(heard, kind, stranger.said)
        stranger.said += heard
        if rank in self._met or rank < self._member.rank or self._asked.get(stranger, rank) != rank:
            raise BadFrame(f"rank {rank} is here already, or is to be called")
        if kind == ASK:
            stranger.say(self._member.greet(ANSWER, rank, stranger.said))
            self._asked[stranger] = rank
            return
        self._met[rank], self._salts[rank] = stranger.connection, salt
        self._door.strangers.remove(stranger)

    def _wait(self) -> None:
        """Sleep until something can go on, LOOK_S at most."""
        poll = select.poll()
        poll.register(self._door, select.POLLIN)
        for stranger in self._door.strangers:
            poll.register(stranger, select.POLLIN)
        for caller in self._callers.values():
            if caller.greeter is not None:
                poll.register(
                    caller.greeter, select.POLLOUT if caller.is_to_write else select.POLLIN
                )
        poll.poll(LOOK_S * 1000)


def _is_connected(connection: socket.socket) -> bool:
    """False while the connection is being made. Raises OSError if it cannot be."""
    failure = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failure:
        raise OSError(failure, "not connected")
    try:
        connection.getpeername()
    except OSError as error:
        if error.errno == errno.ENOTCONN:
            return False
        raise
    return True

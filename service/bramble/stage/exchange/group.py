"""The links to all other members in one epoch, and the order in which messages go over them.

All members register the same messages in the same order, so each knows of every message that
comes which one it has to be. Polled without sleeping while something is waited for; while nothing
is, nobody looks, and what others send waits in the kernel.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Sequence

from bramble.stage.exchange.door import Door, resolve
from bramble.stage.exchange.greeting import Member
from bramble.stage.exchange.link import Due, Link
from bramble.stage.exchange.meeting import Meeting
from bramble.stage.exchange.patience import Patience
from bramble.stage.exchange.protocol import Tally
from bramble.stage.exchange.seal import ALL, OVERHEAD_BYTES, Bytes, Place, Seal

LOOK_MS = 50  # between looks at the clock
SPIN_S = 0.005  # of polling without sleep; whoever is later than that is not waited for awake


class Group:
    """One member's view of its group."""

    def __init__(
        self,
        door: Door,
        members: Sequence[tuple[str, str]],
        member: Member,
        alive: Callable[[], None],
        patience_s: float,
    ) -> None:
        """Connect nobody yet; see TcpExchange for the arguments.

        Raises BadInput for an address that is none, or is not known: a step could not say so.
        """
        self.tally = Tally()
        self._door = door
        self._addresses = [resolve(endpoint) for _, endpoint in members[: member.rank]]
        self._nodes = [node for node, _ in members]
        self._member = member
        self._seal = Seal(member.sender_key(member.rank, member.salt), member.rank)
        self._patience = Patience(self._nodes, alive, patience_s)
        self._limit_ms = int(patience_s * 1000)
        self.links: dict[int, Link] = {}  # by rank, beginning behind our own
        self._step = -1
        self._sequence = self._count = 0

    def begin_step(self, step: int) -> None:
        assert step > self._step
        self._step, self._sequence = step, 0
        if not self.links:
            self._meet()

    def place(self, kind: int) -> Place:
        """Return the next place in the order, for what each member sends of this kind."""
        assert self.links, "begin_step comes first"
        form, size, epoch = self._member.form, self._member.size, self._member.epoch
        made = Place(kind, form, size, epoch, self._step, self._sequence, self._count)
        self._sequence += 1
        self._count += 1
        return made

    def send(self, place: Place, payload: Bytes, to: int = ALL) -> None:
        """Seal a payload and send of it what goes at once, to one member or to all others."""
        message = self._seal.close(place, payload, to)
        links = self.links.values() if to == ALL else (self.links[to],)
        for link in links:
            link.send(message)
            link.advance()
            self.tally.sent_bytes += len(payload) + OVERHEAD_BYTES

    def expect(self, place: Place, num_bytes: int | None, sender: int, recipient: int = ALL) -> Due:
        """Register what comes from `sender` behind all that is registered of it already."""
        due = Due(place, num_bytes, recipient)
        self.links[sender].expect(due)
        return due

    def settle(self, dues: dict[int, Due]) -> dict[int, Bytes]:
        """Wait until these have come, by rank, and all that we send is on its way.

        Whatever else is due is read too: a member that has its part of this, but reads no more,
        would keep another from sending, that one a third, and the third it.

        Raises Broken if a member is silent for too long, has gone, or sends something else.
        """
        self._patience.begin()
        idle_since = 0.0
        while missing := self._missing(dues):
            moved = [link.advance() for link in self.links.values() if link.events]
            if any(moved):
                if idle_since:
                    self.tally.waiting_us += (time.monotonic() - idle_since) * 1e6
                    self._patience.begin()
                idle_since = 0.0
                continue
            idle_since = idle_since or time.monotonic()
            self._wait(missing, time.monotonic() - idle_since)
        return {rank: due.payload for rank, due in dues.items() if due.payload is not None}

    def close(self) -> None:
        for link in self.links.values():
            link.close()

    def _missing(self, dues: dict[int, Due]) -> list[int]:
        """Return the ranks that something is still due from, or to be sent to."""
        return [
            rank
            for rank, link in self.links.items()
            if link.is_sending or (rank in dues and dues[rank].payload is None)
        ]

    def _wait(self, missing: list[int], idle_s: float) -> None:
        if idle_s < SPIN_S:
            os.sched_yield()  # to other processes of this core; at once ours again without any
        else:
            poll = select.poll()
            for link in self.links.values():
                if link.events:
                    poll.register(link, link.events)
            poll.poll(LOOK_MS)
        if self._patience.check(missing):
            for link in self.links.values():
                if not link.events:
                    link.check_open()

    def _meet(self) -> None:
        dropped = self._door.dropped
        met = Meeting(self._door, self._member, self._addresses).hold(self._patience)
        self.tally.dropped += self._door.dropped - dropped
        own, size = self._member.rank, self._member.size
        for rank in (*range(own + 1, size), *range(own)):
            connection, salt = met[rank]
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._limit_ms)
            seal = Seal(self._member.sender_key(rank, salt), rank)
            self.links[rank] = Link(connection, seal, rank, self._nodes[rank])

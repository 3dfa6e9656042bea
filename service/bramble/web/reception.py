"""The connections that no thread serves at the moment: read, waited for, and turned away if late.

Everything here runs in the event loop of the process and never blocks. A client that is slow to
send, or sends nothing, holds a file descriptor here and no thread.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from bramble.web import refusals
from bramble.web.arrival import Patience, Phase
from bramble.web.guest import Guest
from bramble.web.problem import Problem
from bramble.web.turned_away import TurnedAway
from bramble.web.visitors import Visitors

READ_BYTES = 64 << 10
LINGER_S = 2.0  # for a client to read our last words before the connection is gone
LOOK_S = 0.5  # between looks for who is late
MAX_HELD_BYTES = 64 << 20  # of requests that were not answered yet


@dataclass(frozen=True, slots=True)
class Limits:
    patience: Patience
    max_per_address: int  # connections that wait, and as many that are served


class Reception:
    """`serve` has a thread answer a guest's request; `forget` hears that a connection is closed."""

    def __init__(
        self,
        poller: selectors.BaseSelector,
        limits: Limits,
        serve: Callable[[Guest], None],
        forget: Callable[[], None],
    ) -> None:
        self._poller = poller
        self._limits = limits
        self._serve = serve
        self._forget = forget
        self._visitors: Visitors[Guest] = Visitors(limits.max_per_address)
        self._turned_away = TurnedAway()
        self._held_bytes = 0
        self._looked_at = -math.inf
        self.idle_until = math.inf  # for all, once the process stops

    def receive(self, guest: Guest) -> None:
        """Wait for a request of a connection that is new."""
        self._await(guest)

    def take_back(self, guest: Guest, may_ask_again: bool) -> None:
        """Go on with a connection whose request was answered."""
        self._held_bytes -= guest.num_bytes
        guest.num_bytes = 0
        if guest.sock.fileno() < 0:  # gunicorn closed it in the middle of a reply that failed
            self._close(guest)
            return
        self._await(guest)
        if may_ask_again:
            guest.arrival.resume(time.monotonic())
            self._go_on(guest)
        else:
            self._linger(guest)

    def make_room(self) -> bool:
        """Close the connection that has waited longest; False if none waits."""
        guest = next(iter(self._visitors.waiting), None)
        if guest is not None:
            self._turn_away(guest, "crowded", None)
        return guest is not None

    def look(self) -> None:
        """Send away who is late; to be called in every turn of the loop."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        for guest in self._visitors.waiting:
            is_silent = guest.arrival.phase is Phase.SILENCE
            if guest.deadline <= now or (is_silent and self.idle_until <= now):
                self._give_up(guest)
        self._turned_away.report(now)

    def close_all(self) -> None:
        for guest in self._visitors.waiting:
            self._close(guest)

    # -------------------------------------------------------------------------- who is waited for

    def _await(self, guest: Guest) -> None:
        guest.sock.setblocking(False)
        self._poller.register(guest.sock, selectors.EVENT_READ, partial(self._read, guest))
        if (oldest := self._visitors.wait(guest, guest.address)) is not None:
            self._turn_away(oldest, "crowded", None)

    def _read(self, guest: Guest, _: object) -> None:
        if guest.is_gone:  # since the loop was told that there is something to read
            return
        try:
            data = guest.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(guest)
        elif not guest.is_lingering:
            self._held_bytes += len(data)
            guest.arrival.add(data, time.monotonic())
            self._go_on(guest)

    def _go_on(self, guest: Guest, _: object = None) -> None:
        """Do what the waiting guest's request has come to."""
        if guest.is_gone:
            return
        match guest.arrival.phase:
            case Phase.COMPLETE if not guest.sock.takes_more:  # an answer would hold its thread
                guest.until = time.monotonic() + self._limits.patience.body_s
                self._poller.modify(guest.sock, selectors.EVENT_WRITE, partial(self._go_on, guest))
            case Phase.COMPLETE if self._visitors.work(guest):
                self._poller.unregister(guest.sock)
                guest.begin(time.monotonic())
                self._serve(guest)
            case Phase.COMPLETE:
                crowded = refusals.crowded(self._limits.max_per_address)
                self._turn_away(guest, "crowded", crowded)
            case Phase.HEADER_TOO_LARGE:
                self._turn_away(guest, "large", refusals.large_header())
            case Phase.BODY_TOO_LARGE:
                self._turn_away(guest, "large", refusals.large_body(self._limits.patience))
            case _ if self._held_bytes > MAX_HELD_BYTES:
                self._make_memory()
            case _ if guest.arrival.awaits_continue:
                guest.arrival.awaits_continue = False
                say(guest.sock, b"HTTP/1.1 100 Continue\r\n\r\n")

    def _make_memory(self) -> None:
        bodies = (each for each in self._visitors.waiting if each.arrival.phase is Phase.BODY)
        if (guest := next(bodies, None)) is not None:
            self._turn_away(guest, "full", refusals.full())

    # ------------------------------------------------------------------------------- who leaves

    def _give_up(self, guest: Guest) -> None:
        words = None
        if guest.arrival.phase is Phase.HEADER:
            words = refusals.late_header(self._limits.patience)
        elif guest.arrival.phase is Phase.BODY:
            words = refusals.late_body(self._limits.patience)
        if guest.is_lingering or guest.arrival.phase is Phase.SILENCE:
            self._close(guest)
        else:
            self._turn_away(guest, "late", words)

    def _turn_away(self, guest: Guest, reason: str, words: Problem | None) -> None:
        self._turned_away.count(reason, guest.address)
        if words is not None and not guest.is_lingering:
            say(guest.sock, refusals.answer(words, guest.arrival.path))
            self._linger(guest)
        else:
            self._close(guest)

    def _linger(self, guest: Guest) -> None:
        """Let the client read our last words: closed at once, unread bytes of his undo them."""
        try:
            guest.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(guest)
            return
        guest.is_lingering = True
        guest.until = time.monotonic() + LINGER_S
        self._held_bytes -= guest.arrival.drop()
        self._poller.modify(guest.sock, selectors.EVENT_READ, partial(self._read, guest))

    def _close(self, guest: Guest) -> None:
        if guest.is_gone:
            return
        guest.is_gone = True
        self._held_bytes -= guest.arrival.drop()
        self._visitors.leave(guest)
        with contextlib.suppress(KeyError, ValueError):  # not registered while it is served
            self._poller.unregister(guest.sock)
        guest.close()
        self._forget()


def say(sock: socket.socket, words: bytes) -> None:
    """Send a few bytes if the client takes them at once; one who does not is late before long."""
    with contextlib.suppress(OSError):
        sock.send(words, socket.MSG_DONTWAIT)

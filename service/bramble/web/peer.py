"""A client's connection as gunicorn's threads write to it: who does not read is gone after a while.

The kernel's own time limit begins anew with every byte that a client takes. This one does not: a
client may fall behind MIN_BYTES_S by so many seconds in all, and catches up by reading faster.
"""

from __future__ import annotations

import errno
import select
import socket
import time
from typing import Any

from bramble.web.arrival import MIN_BYTES_S

SEND_BUFFER_BYTES = 512 << 10  # takes any page whole, so that its thread is free before it is read


class Peer(socket.socket):
    """A connection that was accepted; `max_lag_s` is how far its client may fall behind."""

    def __init__(self, accepted: socket.socket, max_lag_s: float) -> None:
        super().__init__(fileno=accepted.detach())
        self._max_lag_s = max_lag_s
        self._lag_s = 0.0
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)

    @property
    def takes_more(self) -> bool:
        """True while what is written now would not have to wait for the client to read."""
        return bool(self._writable_within(0))

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Send all of `data`. Raises ConnectionResetError once the client is too far behind."""
        rest = memoryview(data)
        while rest:
            try:
                num_sent = self.send(rest, flags | socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._wait()
            else:
                self._lag_s = max(0.0, self._lag_s - num_sent / MIN_BYTES_S)
                rest = rest[num_sent:]

    def _wait(self) -> None:
        begun = time.monotonic()
        is_writable = self._writable_within(self._max_lag_s - self._lag_s)
        self._lag_s += time.monotonic() - begun
        if not is_writable or self._lag_s >= self._max_lag_s:
            raise ConnectionResetError(errno.ECONNRESET, "the client does not read its reply")

    def _writable_within(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self, select.POLLOUT)
        return bool(poll.poll(max(0.0, seconds) * 1000))

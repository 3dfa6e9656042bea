"""The connection to one other member: what is still to be sent, and the messages that are due.

Non-blocking, both ways at once, so that two members that send much to each other never wait for
each other. It moves bytes and knows what they mean no further than the header it expects.
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque

import numpy as np

from bramble.errors import BadFrame, Broken, MemberGone
from bramble.stage.exchange.protocol import MAX_REPORT_BYTES
from bramble.stage.exchange.seal import ALL, HEADER, OVERHEAD_BYTES, Bytes, Place, Seal
from bramble.stage.exchange.seal import payload_bytes as length_in


class Due:
    """A message that this member is to get; `payload` is None until it has come.

    num_bytes    of its payload; None if its header says it, up to MAX_REPORT_BYTES
    """

    def __init__(self, place: Place, num_bytes: int | None, recipient: int = ALL) -> None:
        self.place = place
        self.num_bytes = num_bytes
        self.recipient = recipient
        self.payload: Bytes | None = None


class Link:
    """One connected socket, and the key of the member at its other end."""

    def __init__(self, connection: socket.socket, seal: Seal, rank: int, node: str) -> None:
        self._connection = connection
        self._seal = seal
        self.name = f"rank {rank} ({node})"
        self._outgoing: deque[memoryview] = deque()
        self._due: deque[Due] = deque()
        self._message = np.empty(0, np.uint8)  # the one that is coming in
        self._rest = self._message.data  # what of it has not come yet
        connection.setblocking(False)

    def fileno(self) -> int:
        return self._connection.fileno()

    @property
    def is_sending(self) -> bool:
        return bool(self._outgoing)

    @property
    def events(self) -> int:
        """What to poll for: room, if something is to be sent, and bytes, if something is due."""
        return (select.POLLOUT if self._outgoing else 0) | (select.POLLIN if self._due else 0)

    def send(self, message: Bytes) -> None:
        """Queue a sealed message; its memory must stay as it is until it is gone."""
        self._outgoing.append(message.data)

    def expect(self, due: Due) -> None:
        """Say which message comes after those that are due already."""
        if not self._due:
            self._begin(due)
        self._due.append(due)

    def advance(self) -> bool:
        """Send and receive what can be at once; return False if that was nothing.

        Raises Broken if the connection is gone, or what came is not what was due.
        """
        has_sent = bool(self._outgoing) and self._send()
        return (bool(self._due) and self._receive()) or has_sent

    def check_open(self) -> None:
        """Raise Broken if the other end has closed its connection; reads nothing."""
        try:
            is_closed = not self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError as error:
            raise self._lost(error) from error
        if is_closed:
            raise self._closed()

    def close(self) -> None:
        self._connection.close()

    def _send(self) -> bool:
        first = self._outgoing[0]
        try:
            num_sent = self._connection.send(first)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._lost(error) from error
        if num_sent == len(first):
            self._outgoing.popleft()
        else:
            self._outgoing[0] = first[num_sent:]
        return True

    def _receive(self) -> bool:
        try:
            count = self._connection.recv_into(self._rest)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._lost(error) from error
        if count == 0:
            raise self._closed()
        self._rest = self._rest[count:]
        if not self._rest:
            self._take_in()
        return True

    def _take_in(self) -> None:
        """Everything asked for is here: a whole message, or the header that says how much more."""
        due = self._due[0]
        try:
            if due.num_bytes is None:
                self._grow(due)
                return
            due.payload = self._seal.open(due.place, self._message, due.recipient)
        except BadFrame as error:
            raise Broken(f"{self.name} in an exchange: {error}") from error
        self._due.popleft()
        if self._due:
            self._begin(self._due[0])

    def _grow(self, due: Due) -> None:
        header = self._message.tobytes()
        num_bytes = length_in(header)
        if num_bytes > MAX_REPORT_BYTES:
            raise BadFrame(f"{due.place} has {num_bytes} bytes, at most {MAX_REPORT_BYTES} can be")
        self._seal.check_header(due.place, header, num_bytes)
        due.num_bytes = num_bytes
        self._message = np.empty(num_bytes + OVERHEAD_BYTES, np.uint8)
        self._message[: HEADER.size] = np.frombuffer(header, np.uint8)
        self._rest = self._message.data[HEADER.size :]

    def _begin(self, due: Due) -> None:
        length = HEADER.size if due.num_bytes is None else due.num_bytes + OVERHEAD_BYTES
        self._message = np.empty(length, np.uint8)
        self._rest = self._message.data

    def _lost(self, error: OSError) -> MemberGone:
        reason = os.strerror(error.errno or 0)
        return MemberGone(f"the connection to {self.name} is lost: {reason}")

    def _closed(self) -> MemberGone:
        return MemberGone(f"{self.name} has closed its connection")

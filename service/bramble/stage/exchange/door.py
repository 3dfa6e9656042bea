"""Where a member listens for those of higher rank, and whoever knocks.

Open as long as the process: groups come and go with their epochs. Until somebody has proven to
belong to the group, little is held for him, and not for long. No thread watches: what comes while
no group is being formed waits in the kernel's queue.
"""

from __future__ import annotations

import contextlib
import socket

from bramble.errors import BadInput, Broken
from bramble.stage.exchange.greeting import GREETING_BYTES

BACKLOG = 16  # connections that the kernel keeps for us
MAX_STRANGERS = 16  # that may be greeting at once; the oldest goes for another one
BUFFER_BYTES = 1 << 22
EVERYWHERE = ("0.0.0.0", "::")
Address = tuple[socket.AddressFamily, tuple[object, ...]]
GREETING_S = 5.0  # a connection that has not proven itself by then is closed


class Greeter:
    """A connection whose other end has not proven yet who it is."""

    def __init__(self, connection: socket.socket, now: float) -> None:
        connection.setblocking(False)
        with contextlib.suppress(OSError):  # an end that is closed already shows when it is read
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection = connection
        self.since = now
        self.said = b""  # what both have said so far
        self._heard = b""

    def fileno(self) -> int:
        return self.connection.fileno()

    def say(self, greeting: bytes) -> None:
        """Send one greeting. Raises OSError if the connection does not take it."""
        if self.connection.send(greeting) != len(greeting):
            raise OSError("the connection takes no more")
        self.said += greeting

    def hear(self) -> bytes | None:
        """Return the other end's next greeting once it is here whole; no byte behind it is read.

        Raises OSError if the connection is gone. The greeting is not added to what was said.
        """
        with contextlib.suppress(BlockingIOError):
            received = self.connection.recv(GREETING_BYTES - len(self._heard))
            if not received:
                raise ConnectionResetError("closed")
            self._heard += received
        if len(self._heard) < GREETING_BYTES:
            return None
        greeting, self._heard = self._heard, b""
        return greeting

    def close(self) -> None:
        self.connection.close()


class Door:
    """The listening socket, and the connections that came in and have proven nothing yet."""

    def __init__(self, listen: str) -> None:
        """Listen at tcp://ADDRESS:PORT; port 0 takes a free one. Raises BadInput, Broken."""
        family, address = resolve(listen)
        if address[0] in EVERYWHERE:
            raise BadInput(
                f"exchange: got {listen!r}; name the address at which other members reach this one"
            )
        self._host = listen.removeprefix("tcp://").rpartition(":")[0]
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            set_buffers(self._listener)
            self._listener.bind(address)
            self._listener.listen(BACKLOG)
        except OSError as error:
            self._listener.close()
            raise Broken(f"cannot listen at {listen}: {error.strerror}") from error
        self._listener.setblocking(False)
        self.strangers: list[Greeter] = []
        self.dropped = 0

    @property
    def endpoint(self) -> str:
        """The address with the port that the system chose where 0 was asked for."""
        return f"tcp://{self._host}:{self._listener.getsockname()[1]}"

    def fileno(self) -> int:
        return self._listener.fileno()

    def admit(self, now: float) -> None:
        """Take in who has knocked; close who has been here for too long, or is one too many."""
        with contextlib.suppress(OSError):  # nobody more; or gone before we came, or no more files
            for _ in range(BACKLOG):
                self.strangers.append(Greeter(self._listener.accept()[0], now))
        too_many = len(self.strangers) - MAX_STRANGERS
        for index, one in enumerate(list(self.strangers)):
            if index < too_many or now - one.since > GREETING_S:
                self.drop(one)

    def drop(self, stranger: Greeter) -> None:
        """Close a connection that proves nothing, and count it."""
        stranger.close()
        self.strangers.remove(stranger)
        self.dropped += 1

    def clear(self) -> None:
        """Close all who have proven nothing: the group is complete."""
        for one in list(self.strangers):
            self.drop(one)

    def close(self) -> None:
        self.clear()
        self._listener.close()


def set_buffers(connection: socket.socket) -> None:
    """Before it listens or connects: have the kernel keep a chunk of a prompt for who computes.

    What net.core.rmem_max and wmem_max do not allow it leaves out without a word.
    """
    for which in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        connection.setsockopt(socket.SOL_SOCKET, which, BUFFER_BYTES)


def resolve(endpoint: str) -> Address:
    """Return the family and the address of tcp://HOST:PORT. Raises BadInput."""
    host, colon, port = endpoint.removeprefix("tcp://").rpartition(":")
    is_sound = endpoint.startswith("tcp://") and colon and host and port.isascii()
    if not is_sound or not port.isdecimal() or int(port) > 65535:
        raise BadInput(f"exchange: got {endpoint!r}, need tcp://ADDRESS:PORT")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise BadInput(f"exchange: {endpoint}: the address is not known: {error}") from error
    return found[0][0], found[0][4]

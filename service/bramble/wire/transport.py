"""The ZeroMQ sockets of the three conversations, with every limit named (see WIRE.md).

The only importer of zmq. It moves messages; what they mean is the services' business.
"""

from __future__ import annotations

import os
import socket as os_socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

import zmq

from bramble.errors import BadFrame, BadInput, Broken
from bramble.wire.frames import Buffer, Message, pack, unpack

HIGH_WATER_STEPS = 1_024
HIGH_WATER_EVENTS = 10_000
LINGER_MS = 0
SEND_TIMEOUT_MS = 1_000
HEARTBEAT_INTERVAL_MS = 1_000
HEARTBEAT_TIMEOUT_MS = 5_000
RECONNECT_MS = 50
RECONNECT_MAX_MS = 1_000
MAX_MESSAGE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Keys:
    """CURVE keys of one end of a TCP connection; the place for them, until nodes have some."""

    public: bytes
    secret: bytes
    server: bytes | None = None  # the server's public key, at the connecting end


class Transport:
    """Owns one ZeroMQ context; every socket it made is closed with it."""

    def __init__(self, keys: Keys | None = None) -> None:
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self._keys = keys

    def __enter__(self) -> Transport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._context.destroy(linger=LINGER_MS)

    def pull(self, endpoint: str) -> Channel:
        """Bind the receiving end of a ring hop."""
        return Channel(self._bound(zmq.PULL, endpoint, HIGH_WATER_STEPS))

    def push(self, endpoint: str) -> Channel:
        """Connect the sending end of a ring hop."""
        return Channel(self._connected(zmq.PUSH, endpoint, HIGH_WATER_STEPS))

    def router(self, endpoint: str) -> Router:
        """Bind the head's end of the control or the client conversation."""
        socket = self._socket(zmq.ROUTER, HIGH_WATER_EVENTS)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # so that a peer that is gone is noticed
        socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        return Router(_bind(socket, endpoint))

    def dealer(self, endpoint: str) -> Channel:
        """Connect a stage's or a client's end."""
        return Channel(self._connected(zmq.DEALER, endpoint, HIGH_WATER_EVENTS))

    def _bound(self, kind: int, endpoint: str, high_water: int) -> zmq.Socket[bytes]:
        return _bind(self._socket(kind, high_water), endpoint)

    def _connected(self, kind: int, endpoint: str, high_water: int) -> zmq.Socket[bytes]:
        socket = self._socket(kind, high_water)
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            socket.close()
            raise BadInput(f"cannot connect to {endpoint}: {error}") from error
        return socket

    def _socket(self, kind: int, high_water: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        socket.setsockopt(zmq.SNDHWM, high_water)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.SNDTIMEO, SEND_TIMEOUT_MS)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        if self._keys is not None:
            _secure(socket, self._keys)
        return socket


class Channel:
    """One socket that carries whole messages, to or from a single peer."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    @property
    def endpoint(self) -> str:
        """The bound address, with the port that the system chose where 0 was asked for."""
        return self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def send(self, message: Message) -> None:
        """Queue the message; see send_frames."""
        self.send_frames(pack(message))

    def send_frames(self, frames: list[Buffer]) -> None:
        """Copy and queue packed frames, so that the caller may reuse their memory at once.

        Raises Broken if the peer takes nothing for SEND_TIMEOUT_MS.
        """
        try:
            self.socket.send_multipart(frames)
        except zmq.Again as error:
            raise Broken(f"{self.endpoint} takes no messages for {SEND_TIMEOUT_MS} ms") from error

    def receive(self) -> Message | None:
        """Return the next message, or None if there is none now. Raises BadFrame."""
        frames = self.receive_frames()
        return None if frames is None else unpack(frames)

    def receive_frames(self) -> list[bytes] | None:
        """Return the next message's frames unchecked, or None if there is none now."""
        try:
            return self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None

    def linger(self) -> None:
        """Let what is queued go out, within SEND_TIMEOUT_MS, after the socket is closed."""
        self.socket.setsockopt(zmq.LINGER, SEND_TIMEOUT_MS)

    def close(self) -> None:
        self.socket.close()


class Router:
    """The head's end: many peers, each known by the identity of its connection."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self.socket = socket

    @property
    def endpoint(self) -> str:
        return self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def send(self, peer: bytes, message: Message) -> bool:
        """Return False if the peer is gone or has not read for HIGH_WATER_EVENTS messages."""
        try:
            self.socket.send_multipart([peer, *pack(message)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def receive(self) -> tuple[bytes, Message | BadFrame] | None:
        """Return (peer, message), or None if there is none now.

        A BadFrame is returned, not raised: its sender is known and may be told.
        """
        try:
            frames = self.socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        try:
            return frames[0], unpack(frames[1:])
        except BadFrame as error:
            return frames[0], error

    def close(self) -> None:
        self.socket.close(LINGER_MS)


class Poll:
    """Waits until one of some channels, or of some other sockets, can be read."""

    def __init__(self, channels: Iterable[Channel | Router]) -> None:
        self._poller = zmq.Poller()
        for channel in channels:
            self._poller.register(channel.socket, zmq.POLLIN)

    def add(self, other: os_socket.socket) -> None:
        """Watch an ordinary socket too."""
        self._poller.register(other.fileno(), zmq.POLLIN)

    def wait(self, timeout_s: float) -> bool:
        """Return True if something can be read before `timeout_s` seconds have passed."""
        return bool(self._poller.poll(max(0, int(timeout_s * 1000))))

    def readable(self, timeout_s: float, channel: Channel | Router) -> tuple[bool, bool]:
        """Wait; return whether `channel` can be read, and whether another one can."""
        ready = [socket for socket, _ in self._poller.poll(max(0, int(timeout_s * 1000)))]
        is_ready = channel.socket in ready
        return is_ready, len(ready) > is_ready


def is_closed_by_peer(connection: os_socket.socket) -> bool:
    """Return True if the peer of a TCP or Unix connection has closed it; reads nothing from it."""
    try:
        data = connection.recv(1, os_socket.MSG_PEEK | os_socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return data == b""


def new_identity() -> int:
    """Return a number that no other process or restart has: clock and randomness."""
    return time.time_ns() ^ int.from_bytes(os.urandom(4), "little")


def _bind(socket: zmq.Socket[bytes], endpoint: str) -> zmq.Socket[bytes]:
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close()
        raise BadInput(
            f"cannot listen on {endpoint}: {error.strerror}; "
            "is another Bramble running? Stop it or choose another port"
        ) from error
    return socket


def _secure(socket: zmq.Socket[bytes], keys: Keys) -> None:
    socket.curve_publickey = keys.public
    socket.curve_secretkey = keys.secret
    if keys.server is None:
        socket.curve_server = True
    else:
        socket.curve_serverkey = keys.server

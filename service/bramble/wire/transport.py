"""The ZeroMQ sockets of the three conversations, with every limit named (see WIRE.md).

The only importer of zmq. It moves messages; what they mean is the services' business.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket as os_socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType

import zmq
from zmq.auth.thread import ThreadAuthenticator

from bramble.errors import BadFrame, BadInput, Broken
from bramble.wire.frames import Buffer, Message, pack, unpack

log = logging.getLogger(__name__)

HIGH_WATER_STEPS = 1_024
HIGH_WATER_EVENTS = 10_000
LINGER_MS = 0
SEND_TIMEOUT_MS = 1_000
HEARTBEAT_INTERVAL_MS = 1_000
HEARTBEAT_TIMEOUT_MS = 5_000
RECONNECT_MS = 50
RECONNECT_MAX_MS = 1_000
# Largest frames, by what a socket has to carry: they hold before a sender has proven who it is, and
# so bound what any connection can have this process allocate.
MAX_STEP_BYTES = 1 << 26
MAX_ANSWER_BYTES = 1 << 22  # to the head: 4096 tokens with 20 logprobs are 0.7 MB
MAX_CONTROL_BYTES = 1 << 20
MAX_CLIENT_BYTES = 1 << 28  # over ipc alone, which the socket's file mode guards
HANDSHAKE_MS = 5_000  # a connection that has not proven itself by then is closed
MAX_FILES = 8192  # idle connections may not use up what the process needs itself
PLAIN = ("tcp://127.", "tcp://localhost:", "tcp://[::1]", "ipc:", "inproc:")  # never leave a node


@dataclass(frozen=True, slots=True)
class Keyring:
    """What this node proves itself with over TCP, and whom it believes: CURVE keys in Z85."""

    public: str
    secret: str
    peers: Callable[[], Mapping[str, str]]  # node → public key; asked anew at every connection


class Transport:
    """Owns one ZeroMQ context; every socket it made is closed with it.

    Without a keyring TCP stays on loopback: nothing unauthenticated listens on a network.
    """

    def __init__(self, keyring: Keyring | None = None) -> None:
        _allow_files()
        self._context = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self._keyring = keyring
        self._authenticator: ThreadAuthenticator | None = None
        if keyring is not None:
            self._authenticator = ThreadAuthenticator(self._context)
            self._authenticator.start()
            self._authenticator.configure_curve_callback("*", _Doorkeeper(keyring))

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
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.destroy(linger=LINGER_MS)

    def pull(self, endpoint: str, max_bytes: int = MAX_STEP_BYTES) -> Channel:
        """Bind the receiving end of a ring hop; a frame of more bytes closes its connection."""
        socket = self._bound(zmq.PULL, endpoint, HIGH_WATER_STEPS, max_bytes)
        return Channel(socket, self._proof(endpoint))

    def push(self, endpoint: str, node: str = "") -> Channel:
        """Connect the sending end of a ring hop to `node`."""
        return Channel(self._connected(zmq.PUSH, endpoint, HIGH_WATER_STEPS, node))

    def router(self, endpoint: str) -> Router:
        """Bind the head's end of the control or the client conversation."""
        max_bytes = MAX_CONTROL_BYTES if endpoint.startswith("tcp:") else MAX_CLIENT_BYTES
        socket = self._socket(zmq.ROUTER, HIGH_WATER_EVENTS, max_bytes)
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)  # so that a peer that is gone is noticed
        socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        return Router(self._bind(socket, endpoint), self._proof(endpoint))

    def dealer(self, endpoint: str, node: str = "") -> Channel:
        """Connect a stage's end to the head on `node`, or a client's over ipc."""
        return Channel(self._connected(zmq.DEALER, endpoint, HIGH_WATER_EVENTS, node))

    def _proof(self, endpoint: str) -> Proof | None:
        is_proven = self._keyring is not None and endpoint.startswith("tcp:")
        return Proof(self._keyring) if is_proven and self._keyring is not None else None

    def _bound(
        self, kind: int, endpoint: str, high_water: int, max_bytes: int
    ) -> zmq.Socket[bytes]:
        return self._bind(self._socket(kind, high_water, max_bytes), endpoint)

    def _bind(self, socket: zmq.Socket[bytes], endpoint: str) -> zmq.Socket[bytes]:
        try:
            if self._keyring is not None and endpoint.startswith("tcp:"):
                self._identify(socket, self._keyring)
                socket.curve_server = True
            elif not endpoint.startswith(PLAIN):
                raise BadInput(
                    f"{endpoint} can be reached from the network, and this process has no keys: "
                    "give it some (--keys, --secret), or listen on 127.0.0.1"
                )
            socket.bind(endpoint)
        except zmq.ZMQError as error:
            socket.close()
            raise BadInput(
                f"cannot listen on {endpoint}: {error.strerror}; "
                "is another Bramble running? Stop it or choose another port"
            ) from error
        except BadInput:
            socket.close()
            raise
        return socket

    def _connected(self, kind: int, endpoint: str, high_water: int, node: str) -> zmq.Socket[bytes]:
        socket = self._socket(kind, high_water, MAX_CLIENT_BYTES)
        try:
            if self._keyring is not None and endpoint.startswith("tcp:"):
                self._identify(socket, self._keyring)
                socket.curve_serverkey = _key_of(node, self._keyring).encode("ascii")
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            socket.close()
            raise BadInput(f"cannot connect to {endpoint}: {error}") from error
        except BadInput:
            socket.close()
            raise
        return socket

    def _identify(self, socket: zmq.Socket[bytes], keyring: Keyring) -> None:
        socket.curve_publickey = keyring.public.encode("ascii")
        socket.curve_secretkey = keyring.secret.encode("ascii")

    def _socket(self, kind: int, high_water: int, max_bytes: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, LINGER_MS)
        socket.setsockopt(zmq.SNDHWM, high_water)
        socket.setsockopt(zmq.RCVHWM, high_water)
        socket.setsockopt(zmq.SNDTIMEO, SEND_TIMEOUT_MS)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_INTERVAL_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MAX_MS)
        socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
        socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
        return socket


class Proof:
    """Whose key the sender of the message received last has proven to hold."""

    def __init__(self, keyring: Keyring) -> None:
        self._peers = keyring.peers
        self._keys: Mapping[str, str] = {}
        self._key = ""

    def note(self, frame: zmq.Frame) -> None:
        """Take in a frame as it came; ZAP has written the sender's key into its metadata."""
        try:
            self._key = str(frame.get("User-Id"))
        except zmq.ZMQError:  # nothing was proven
            self._key = ""

    def is_of(self, node: str) -> bool:
        with contextlib.suppress(BadInput):  # a file of keys that is damaged now was not before
            self._keys = self._peers()
        return bool(self._key) and self._keys.get(node) == self._key


class Channel:
    """One socket that carries whole messages, to or from a single peer."""

    def __init__(self, socket: zmq.Socket[bytes], proof: Proof | None = None) -> None:
        self.socket = socket
        self._proof = proof

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

    def offer_frames(self, frames: list[Buffer]) -> None:
        """As send_frames, but what the peer cannot take now is dropped."""
        with contextlib.suppress(zmq.Again):
            self.socket.send_multipart(frames, zmq.NOBLOCK)

    def receive(self) -> Message | None:
        """Return the next message, or None if there is none now. Raises BadFrame."""
        frames = self.receive_frames()
        return None if frames is None else unpack(frames)

    def receive_frames(self) -> list[bytes] | None:
        """Return the next message's frames unchecked, or None if there is none now."""
        try:
            frame = self.socket.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        if self._proof is not None:
            self._proof.note(frame)
        return [frame.bytes, *(self.socket.recv_multipart() if frame.more else ())]

    def is_from(self, node: str) -> bool:
        """True if the message received last came from a holder of this node's key.

        Always, where nothing is proven: on loopback without keys, and over ipc.
        """
        return self._proof is None or self._proof.is_of(node)

    def linger(self) -> None:
        """Let what is queued go out, within SEND_TIMEOUT_MS, after the socket is closed."""
        self.socket.setsockopt(zmq.LINGER, SEND_TIMEOUT_MS)

    def close(self) -> None:
        self.socket.close()


class Router:
    """The head's end: many peers, each known by the identity of its connection."""

    def __init__(self, socket: zmq.Socket[bytes], proof: Proof | None = None) -> None:
        self.socket = socket
        self._proof = proof

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
            received = self.socket.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        if self._proof is not None:
            self._proof.note(received[-1])
        peer, *frames = (frame.bytes for frame in received)
        try:
            return peer, unpack(frames)
        except BadFrame as error:
            return peer, error

    def is_from(self, node: str) -> bool:
        """True if the message received last came from a holder of this node's key.

        Always, where nothing is proven: on loopback without keys, and over ipc.
        """
        return self._proof is None or self._proof.is_of(node)

    def close(self) -> None:
        """Let what is queued go out, within SEND_TIMEOUT_MS, before the transport closes."""
        self.socket.close(SEND_TIMEOUT_MS)


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


def peek(connection: os_socket.socket) -> bytes | None:
    """Return the first byte that waits at a TCP or Unix connection, and leave it there.

    Nothing once its peer has closed it; None while it is neither closed nor has anything to read.
    """
    try:
        return connection.recv(1, os_socket.MSG_PEEK | os_socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def new_identity() -> int:
    """Return a number that no other process or restart has: clock and randomness."""
    return time.time_ns() ^ int.from_bytes(os.urandom(4), "little")


def new_secret() -> str:
    """Return a new CURVE secret key."""
    return zmq.curve_keypair()[1].decode("ascii")


def public_of(secret: str) -> str:
    """Return the public key that belongs to a secret one. Raises BadInput if it is none."""
    try:
        return zmq.curve_public(secret.encode("ascii")).decode("ascii")
    except (ValueError, UnicodeEncodeError, zmq.ZMQError) as error:
        raise BadInput("the secret key is not 40 characters of Z85; make a new one") from error


def _allow_files() -> None:
    """Raise this process's own limit on open files; systemd's and most shells' is 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Doorkeeper:
    """Lets in whoever has the key of a node that we know; pyzmq asks it."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def callback(self, domain: str, key: bytes) -> bool:
        try:
            return key.decode("ascii") in self._keyring.peers().values()
        except BadInput as error:  # the file of keys is damaged
            log.error("event=keys_unreadable reason=%r", str(error))
            return False


def _key_of(node: str, keyring: Keyring) -> str:
    peers = keyring.peers()
    if node not in peers:
        raise BadInput(f"no public key of node {node!r}; known are {', '.join(peers) or 'none'}")
    return peers[node]

"""The bandwidth between two nodes: one serves a probe for some seconds, the other measures.

Both know a token that is used once: the server sends a nonce, the client answers with the nonce's
HMAC under the token. After that the client sends for a while and hears what arrived, then the
server sends. Whoever does not know the token gets nothing but the nonce.
"""

from __future__ import annotations

import hmac
import secrets
import socket
import struct
import time
from dataclasses import dataclass

from bramble.doctor.finding import Finding, error, ok, warning
from bramble.errors import BadInput, Unavailable

PORT = 7103  # of the ring's range, which the firewall opens between nodes alone
DURATION_S = 2.0
EXPECTED_MBIT = 940  # of TCP payload through gigabit Ethernet with 1500-byte frames
GOOD_SHARE = 0.85
POOR_SHARE = 0.10
NONCE_BYTES = 32
MIN_TOKEN = 16  # characters
STRANGER_S = 1.0  # who has not proved himself by then is sent away: the client waits behind him
PATIENCE_S = 10.0
WAIT_S = 10.0  # for the other side to begin to serve
CHUNK = bytes(256 << 10)
REPORT = struct.Struct("!Qd")  # bytes that arrived, seconds that took
ADVICE = (
    "1 Gbit/s Ethernet gives about 940: check the link speed above, change the cable, try another "
    "port of the switch, see that EEE is off; a serving ring takes its share too"
)
CLOSED = (
    "see that port {port} is open between the nodes (ansible-playbook site.yml --tags firewall), "
    "and that the other side serves (bramble doctor --serve-probe) with the same token"
)


@dataclass(frozen=True, slots=True)
class Bandwidth:
    sent_mbit_s: float  # from here to there, as it arrived there
    received_mbit_s: float


def judge(name: str, measured: Bandwidth) -> Finding:
    low = min(measured.sent_mbit_s, measured.received_mbit_s)
    sentence = (
        f"{measured.sent_mbit_s:.0f} Mbit/s to {name}, {measured.received_mbit_s:.0f} Mbit/s back"
    )
    if low < POOR_SHARE * EXPECTED_MBIT:
        return error("bandwidth", sentence, ADVICE)
    if low < GOOD_SHARE * EXPECTED_MBIT:
        return warning("bandwidth", sentence, ADVICE)
    return ok("bandwidth", sentence)


def neighbour(name: str, token: str, address: str, port: int, wait_s: float = WAIT_S) -> Finding:
    """Measure and judge; a probe that did not come about is a finding, too."""
    try:
        return judge(name, measure(token, address, port, wait_s))
    except Unavailable as problem:
        return warning("bandwidth", f"{name}: {problem}", CLOSED.format(port=port))


def serve(
    token: str, seconds: float, port: int, listen: str = "0.0.0.0", client: str | None = None
) -> bool:
    """Serve one probe and return True, or False if nobody with the token came in time.

    client   the only address that is listened to; None for any
    """
    key, deadline = _key(token), time.monotonic() + seconds
    try:
        door = socket.create_server((listen, port))
    except (OSError, OverflowError) as problem:
        raise BadInput(f"cannot serve a probe on {listen}:{port}: {problem}") from problem
    with door:
        while (left := deadline - time.monotonic()) > 0:
            door.settimeout(left)
            try:
                channel, address = door.accept()
            except TimeoutError:
                return False
            with channel:
                if client in (None, address[0]) and _is_served(channel, key):
                    return True
    return False


def measure(
    token: str, address: str, port: int, wait_s: float = WAIT_S, duration_s: float = DURATION_S
) -> Bandwidth:
    """Measure both directions. Raises Unavailable if no probe is served there for this token."""
    key = _key(token)
    try:
        with _connect(address, port, time.monotonic() + wait_s) as channel:
            deadline = time.monotonic() + PATIENCE_S
            nonce = _exactly(channel, NONCE_BYTES, deadline)
            channel.sendall(_answer(key, nonce) + struct.pack("!d", duration_s))
            if _exactly(channel, 1, deadline) != b"\1":
                raise ConnectionError("it does not know our token")
            channel.settimeout(PATIENCE_S)
            _send(channel, duration_s)
            sent, sent_s = REPORT.unpack(_exactly(channel, REPORT.size))
            received, received_s = _drain(channel)
    except OSError as problem:
        raise Unavailable(f"no bandwidth probe with {address}:{port}: {problem}") from problem
    return Bandwidth(_mbit_s(sent, sent_s), _mbit_s(received, received_s))


def _is_served(channel: socket.socket, key: bytes) -> bool:
    """Whether the client knew the token; its probe is over then, well or not."""
    deadline = time.monotonic() + STRANGER_S
    channel.settimeout(STRANGER_S)
    nonce = secrets.token_bytes(NONCE_BYTES)
    try:
        channel.sendall(nonce)
        proof = _exactly(channel, hmac.new(key, nonce, "sha256").digest_size, deadline)
        (duration_s,) = struct.unpack("!d", _exactly(channel, 8, deadline))
        if not hmac.compare_digest(proof, _answer(key, nonce)):
            return False
    except OSError:
        return False
    try:
        channel.sendall(b"\1")
        channel.sendall(REPORT.pack(*_drain(channel)))
        _send(channel, min(duration_s, 2 * DURATION_S))
    except OSError:
        return True  # the client tells its person; a token is used up even so
    return True


def _send(channel: socket.socket, duration_s: float) -> None:
    """Send pieces for so long; each begins with its length, and an empty one is the last."""
    piece = struct.pack("!I", len(CHUNK)) + CHUNK
    deadline = time.monotonic() + duration_s
    channel.settimeout(duration_s + PATIENCE_S)
    while time.monotonic() < deadline:
        channel.sendall(piece)
    channel.sendall(struct.pack("!I", 0))


def _drain(channel: socket.socket) -> tuple[int, float]:
    """Receive pieces to the last one; return the bytes and the seconds since the first."""
    channel.settimeout(2 * DURATION_S + PATIENCE_S)
    buffer, total = bytearray(len(CHUNK)), 0
    view = memoryview(buffer)
    (size,) = struct.unpack("!I", _exactly(channel, 4))
    begun = time.monotonic()
    while size:
        if size > len(buffer):
            raise ConnectionError("the other side speaks another protocol")
        total += size
        while size:
            got = channel.recv_into(view[:size])
            if not got:
                raise ConnectionError("the connection broke off")
            size -= got
        (size,) = struct.unpack("!I", _exactly(channel, 4))
    return total, time.monotonic() - begun


def _connect(address: str, port: int, deadline: float) -> socket.socket:
    """Connect as soon as the other side listens."""
    while True:
        try:
            channel = socket.create_connection((address, port), timeout=PATIENCE_S)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
            continue
        channel.settimeout(PATIENCE_S)
        return channel


def _exactly(channel: socket.socket, size: int, deadline: float | None = None) -> bytes:
    """Receive so many bytes, all of them before the deadline. Raises OSError."""
    data = b""
    while len(data) < size:
        if deadline is not None:
            channel.settimeout(max(1e-3, deadline - time.monotonic()))
        piece = channel.recv(size - len(data))
        if not piece:
            raise ConnectionError("the connection broke off: another token, or none")
        data += piece
    return data


def _answer(key: bytes, nonce: bytes) -> bytes:
    return hmac.new(key, nonce, "sha256").digest()


def _key(token: str) -> bytes:
    if len(token) < MIN_TOKEN:
        raise BadInput(
            f"the probe's token has {len(token)} characters, it needs {MIN_TOKEN} or more; "
            "give it on standard input"
        )
    return token.encode()


def _mbit_s(size: int, seconds: float) -> float:
    return size * 8 / 1e6 / max(seconds, 1e-6)

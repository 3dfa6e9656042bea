"""The bandwidth probe: real sockets on loopback, with the token and without."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from bramble.doctor import probe
from bramble.doctor.probe import Bandwidth, judge, measure
from bramble.errors import BadInput, Unavailable

from tests.ports import free_ports

TOKEN = "b7e23ec29af22b0b4e41da31e868d572"
LOOPBACK = "127.0.0.1"


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def serve(
    pool: ThreadPoolExecutor, port: int, seconds: float = 5, client: str | None = None
) -> Future[bool]:
    return pool.submit(probe.serve, TOKEN, seconds, port, LOOPBACK, client)


def test_both_directions_are_measured(pool: ThreadPoolExecutor, port: int) -> None:
    served = serve(pool, port)
    measured = measure(TOKEN, LOOPBACK, port, duration_s=0.2)
    assert served.result() is True
    assert measured.sent_mbit_s > 100 and measured.received_mbit_s > 100  # loopback does 10,000


def test_another_token_gets_nothing_and_the_right_one_is_still_served(
    pool: ThreadPoolExecutor, port: int
) -> None:
    served = serve(pool, port)
    with pytest.raises(Unavailable, match="another token"):
        measure("another token of some length", LOOPBACK, port, duration_s=0.1)
    measure(TOKEN, LOOPBACK, port, duration_s=0.1)
    assert served.result() is True


def test_a_token_serves_once(pool: ThreadPoolExecutor, port: int) -> None:
    served = serve(pool, port)
    measure(TOKEN, LOOPBACK, port, duration_s=0.1)
    served.result()
    with pytest.raises(Unavailable, match="no bandwidth probe with"):
        measure(TOKEN, LOOPBACK, port, wait_s=0.3, duration_s=0.1)


def test_an_eavesdropper_cannot_answer_the_next_nonce(pool: ThreadPoolExecutor, port: int) -> None:
    """The proof belongs to one nonce: each connection gets a new one."""
    served = serve(pool, port, seconds=1)
    nonces = []
    for _ in range(2):
        with connected(port) as channel:
            nonces.append(channel.recv(probe.NONCE_BYTES))
    assert nonces[0] != nonces[1] and served.result() is False


def test_a_stranger_who_says_nothing_does_not_keep_the_client_out(
    pool: ThreadPoolExecutor, port: int
) -> None:
    served = serve(pool, port, seconds=8)
    with connected(port):
        measure(TOKEN, LOOPBACK, port, duration_s=0.1)
    assert served.result() is True


def test_a_stranger_who_says_a_byte_now_and_then_is_sent_away(
    pool: ThreadPoolExecutor, port: int
) -> None:
    served = serve(pool, port, seconds=8)
    time.sleep(0.2)
    with socket.create_connection((LOOPBACK, port)) as stranger:
        trickle = pool.submit(_trickle, stranger, 6)
        started = time.monotonic()
        measure(TOKEN, LOOPBACK, port, duration_s=0.1)
        assert time.monotonic() - started < 3
        trickle.result()
    assert served.result() is True


def _trickle(channel: socket.socket, num_bytes: int) -> None:
    for _ in range(num_bytes):
        time.sleep(0.7)
        try:
            channel.send(b"x")
        except OSError:
            return


def test_only_the_named_client_is_listened_to(pool: ThreadPoolExecutor, port: int) -> None:
    served = serve(pool, port, seconds=1, client="192.0.2.7")
    with pytest.raises(Unavailable):
        measure(TOKEN, LOOPBACK, port, wait_s=0.2, duration_s=0.1)
    assert served.result() is False


def test_nobody_comes_and_the_door_closes(port: int) -> None:
    begun = time.monotonic()
    assert probe.serve(TOKEN, 0.2, port, LOOPBACK) is False
    assert time.monotonic() - begun < 2
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port))


def test_a_short_token_and_a_taken_port_are_bad_input(port: int) -> None:
    with pytest.raises(BadInput, match="has 5 characters, it needs 16"):
        probe.serve("short", 1, port, LOOPBACK)
    with socket.create_server((LOOPBACK, port)), pytest.raises(BadInput, match="cannot serve"):
        probe.serve(TOKEN, 1, port, LOOPBACK)


@pytest.mark.parametrize(
    ("there", "back", "level"),
    [(941, 938, "ok"), (941, 300, "warning"), (94, 94, "warning"), (5, 940, "error")],
)
def test_bandwidth_is_judged_by_its_worse_direction(there: float, back: float, level: str) -> None:
    finding = judge("pi2", Bandwidth(there, back))
    assert finding.level == level and f"{there:.0f} Mbit/s to pi2" in finding.sentence
    assert ("about 940" in finding.advice) == (level != "ok")


def test_a_probe_that_nobody_serves_is_a_finding(port: int) -> None:
    finding = probe.neighbour("pi2", TOKEN, LOOPBACK, port, wait_s=0.1)
    assert finding.level == "warning" and f"port {port} is open" in finding.advice


def connected(port: int) -> socket.socket:
    """Connect once the door is open."""
    for _ in range(100):
        try:
            return socket.create_connection((LOOPBACK, port), timeout=5)
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise AssertionError("the probe never listened")

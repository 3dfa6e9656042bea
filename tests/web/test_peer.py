"""A client that reads too slowly is gone, however steadily it does; one that reads is not."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from bramble.web.peer import Peer


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        yield client


@pytest.fixture
def peer(client: socket.socket) -> Iterator[Peer]:
    with socket.create_server(("127.0.0.1", 0)) as door:
        client.connect(door.getsockname())
        with Peer(door.accept()[0], max_lag_s=0.5) as peer:
            yield peer


def read(client: socket.socket, piece_bytes: int, pause_s: float, total: int) -> threading.Thread:
    """Have a thread read so many bytes in all, or less if the connection ends."""

    def work() -> None:
        left = total
        with contextlib.suppress(OSError):
            while left > 0 and (piece := client.recv(min(left, piece_bytes))):
                left -= len(piece)
                time.sleep(pause_s)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_who_reads_a_little_now_and_then_is_gone_all_the_same(
    client: socket.socket, peer: Peer
) -> None:
    reader = read(client, 200, 0.1, 100_000_000)
    started = time.monotonic()
    with pytest.raises(ConnectionResetError, match="does not read"):
        peer.sendall(bytes(10_000_000))
    assert 0.4 < time.monotonic() - started < 3
    client.close()  # with much that it has not read
    reader.join()


def test_who_reads_at_a_pace_may_take_longer(client: socket.socket, peer: Peer) -> None:
    reader = read(client, 100_000, 0.02, 5_000_000)
    started = time.monotonic()
    peer.sendall(bytes(5_000_000))
    assert time.monotonic() - started > 0.6  # beyond what a client that reads nothing is given
    reader.join()


def test_it_takes_more_until_its_buffers_are_full(client: socket.socket, peer: Peer) -> None:
    assert peer.takes_more
    with pytest.raises(ConnectionResetError):
        peer.sendall(bytes(10_000_000))
    assert not peer.takes_more

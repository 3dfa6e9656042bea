"""Clients that are slow, silent or worse keep nobody else from being answered; real processes."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.web.conftest import Server, get_json
from tests.web.crowd import MANNERS, Held, crowd, held_by

PROBES = 5
SOON_S = 5.0  # a busy machine takes part of it; behind the crowd it would be 10 s or more
QUIET_THREADS = 2  # the loop's and the watchdog's


@contextlib.contextmanager
def running_reply(url: str) -> Iterator[list[float]]:
    """A streamed reply under way; yields the times at which its events have come so far."""
    times: list[float] = []
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=20)
    body = {"messages": [{"role": "user", "content": "slow"}], "stream": True}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    response = connection.getresponse()

    def read() -> None:
        with contextlib.suppress(OSError, ValueError):  # closed below
            while response.readline():
                times.append(time.monotonic())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield times
    finally:
        assert connection.sock is not None
        connection.sock.shutdown(socket.SHUT_RDWR)
        reader.join()
        connection.close()


def await_held(pid: int, before: Held) -> None:
    """Wait until a process holds no more than it did."""
    for _ in range(200):
        held = held_by(pid)
        if held.descriptors <= before.descriptors and held.threads <= before.threads:
            return
        time.sleep(0.1)
    raise AssertionError(f"it holds {held}, and held {before}")


@pytest.mark.parametrize(
    ("manner", "size"),
    [*((manner, 200) for manner in MANNERS), ("idle", 2000), ("slow headers", 2000)],
)
def test_the_others_are_answered(server: Server, manner: str, size: int) -> None:
    before = held_by(server.worker)
    with running_reply(server.url) as events, crowd(server.url, size, MANNERS[manner]):
        num_before = len(events)
        for _ in range(PROBES):
            started = time.monotonic()
            assert get_json(f"{server.url}/healthz") == {"status": "ok"}
            assert get_json(f"{server.url}/readyz")["status"] == "ready"
            assert get_json(f"{server.url}/v1/models")["data"]
            assert time.monotonic() - started < SOON_S
            time.sleep(0.1)
        assert len(events) - num_before > 2 * PROBES
    await_held(server.worker, replace(before, threads=10**6))


def test_threads_end_when_there_is_nothing_to_do(server: Server) -> None:
    before = replace(held_by(server.worker), threads=QUIET_THREADS)
    await_held(server.worker, before)  # those of earlier tests have ended
    with crowd(server.url, 50, MANNERS["pages that nobody reads"]):
        for _ in range(100):
            if held_by(server.worker).threads > QUIET_THREADS:
                break
            time.sleep(0.05)
        assert held_by(server.worker).threads > QUIET_THREADS
    await_held(server.worker, before)


def talk(url: str, sent: bytes) -> bytes:
    """Send, and read until the server ends the connection."""
    address = urllib.parse.urlsplit(url)
    answer = b""
    with socket.create_connection((address.hostname, address.port), timeout=20) as client:
        client.sendall(sent)
        while piece := client.recv(1000):
            answer += piece
    return answer


@pytest.mark.parametrize(
    ("sent", "answer", "words"),
    [
        (b"GET /heal", b"HTTP/1.1 408 ", b"header was not complete within 2 s"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nAcc", b"HTTP/1.1 408 ", b"header was not complete"),
        (b"\r\n", b"HTTP/1.1 408 ", b"header was not complete"),
    ],
)
def test_what_stays_out_ends_the_connection_in_time(
    server: Server, sent: bytes, answer: bytes, words: bytes
) -> None:
    started = time.monotonic()
    said = talk(server.url, sent)
    assert said.startswith(answer) and words in said
    assert time.monotonic() - started > 1  # it was given its time


def test_a_client_that_keeps_an_ended_connection_holds_up_nobody(server: Server) -> None:
    address = urllib.parse.urlsplit(server.url)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client = socket.create_connection((address.hostname, address.port), timeout=20)
            stack.enter_context(client).sendall(request)
        started = time.monotonic()
        get_json(f"{server.url}/healthz")
        assert time.monotonic() - started < SOON_S

"""Many clients that behave badly, each in its way, on one thread; and what a process holds."""

from __future__ import annotations

import resource
import socket
import threading
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TRICKLE_S = 0.3  # between the bytes that a slow one sends


@dataclass(frozen=True)
class Manner:
    """What a client sends at once, then byte by byte; who reads nothing has little room for it."""

    first: bytes = b""
    then: bytes = b""
    reads: bool = True


HOST = b"Host: localhost\r\n"
PAGE = b"GET /static/vendor/dompurify/purify.es.js HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST
MANNERS = {
    "slow headers": Manner(b"G", b"ET /healthz HTTP/1.1"),
    "idle": Manner(),
    "slow bodies": Manner(POST + b"Content-Length: 900\r\n\r\n{", b" " * 100),
    "slow chunks": Manner(POST + b"Transfer-Encoding: chunked\r\n\r\n900\r\n{", b" " * 100),
    "bodies to be asked for": Manner(
        POST + b"Content-Length: 900\r\nExpect: 100-continue\r\n\r\n", b" " * 100
    ),
    "TLS": Manner(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), bytes(100)),
    "half of TLS": Manner(b"\x16", b"\x03\x01\x02\x00\x01\x00"),
    "pipelined requests": Manner(b"GET /v1/models HTTP/1.1\r\n%b\r\n" % HOST * 20 + b"GE", b"T /"),
    "pages that nobody reads": Manner(PAGE * 20, reads=False),
    "probes that nobody reads": Manner(
        b"GET /healthz HTTP/1.1\r\n%b\r\n" % HOST * 200, reads=False
    ),
}


@contextmanager
def crowd(url: str, size: int, manner: Manner) -> Iterator[None]:
    """Keep `size` clients of that manner connected."""
    allow_descriptors(2 * size)
    address = urllib.parse.urlsplit(url)
    is_over = threading.Event()
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(size)]
        for client in clients:
            if not manner.reads:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.connect((address.hostname, address.port))
            client.sendall(manner.first)
        sender = threading.Thread(target=_trickle, args=(clients, manner.then, is_over))
        sender.start()
        try:
            yield
        finally:
            is_over.set()
            sender.join()


def _trickle(clients: list[socket.socket], text: bytes, is_over: threading.Event) -> None:
    for byte in text:
        if is_over.wait(TRICKLE_S):
            return
        for client in clients:
            with suppress(OSError):  # turned away meanwhile
                client.send(bytes([byte]))


def allow_descriptors(number: int) -> None:
    """Let this process have so many, and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))


@dataclass(frozen=True)
class Held:
    descriptors: int
    threads: int


def held_by(pid: int) -> Held:
    """What a process has at the moment."""
    process = Path(f"/proc/{pid}")
    return Held(len(list((process / "fd").iterdir())), len(list((process / "task").iterdir())))

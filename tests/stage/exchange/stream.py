"""What one member says to another in a few messages, and what a link makes of any bytes."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from bramble.errors import Broken
from bramble.stage.exchange.link import Due, Link
from bramble.stage.exchange.seal import WHOLE, Place, Seal

KEY, RANK, EPOCH = b"k" * 32, 1, 7
LENGTHS = (64, 0, 272, 31, 1000)


def place(count: int, *, step: int = 3, epoch: int = EPOCH, kind: int = WHOLE) -> Place:
    return Place(kind, 0, 2, epoch, step, count, count)


PLACES = [place(count) for count in range(len(LENGTHS))]
PAYLOADS = [
    np.random.default_rng(n).integers(0, 256, length, np.uint8) for n, length in enumerate(LENGTHS)
]
MESSAGES = [
    Seal(KEY, RANK).close(where, what).tobytes()
    for where, what in zip(PLACES, PAYLOADS, strict=True)
]
STREAM = b"".join(MESSAGES)


@contextmanager
def link_with(stream: bytes) -> Iterator[Link]:
    """A link to a member that has said all this, and has closed its connection."""
    ours, theirs = socket.socketpair()
    try:
        theirs.sendall(stream)
        theirs.close()
        yield Link(ours, Seal(KEY, RANK), RANK, "pi1")
    finally:
        ours.close()


def believed(stream: bytes, dues: list[Due]) -> Broken | None:
    """Read what is due from the stream; return what ended that, if anything did."""
    with link_with(stream) as link:
        for due in dues:
            link.expect(due)
        try:
            while any(due.payload is None for due in dues):
                assert link.advance()
        except Broken as error:
            return error
    return None


def expected() -> list[Due]:
    return [Due(*what) for what in zip(PLACES, LENGTHS, strict=True)]


def check(stream: bytes) -> None:
    """Whatever came: what is believed is what was sent, and the first doubt ends all."""
    dues = expected()
    error = believed(stream, dues)
    taken = [due.payload for due in dues if due.payload is not None]
    assert len(taken) == len(dues) or (error is not None and "rank 1 (pi1)" in str(error))
    for payload, sent in zip(taken, PAYLOADS, strict=False):
        np.testing.assert_array_equal(payload, sent)
    assert stream.startswith(b"".join(MESSAGES[: len(taken)]))

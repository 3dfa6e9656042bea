"""No garbled, repeated, late, reordered or forged byte becomes a sum."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import numpy as np
import pytest
from bramble.errors import Broken
from bramble.stage.exchange.link import Due, Link
from bramble.stage.exchange.seal import (
    ALL,
    HEADER,
    OVERHEAD_BYTES,
    PART,
    REPORT,
    TOTAL,
    WHOLE,
    Place,
    Seal,
)
from hypothesis import given, settings
from hypothesis import strategies as st

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
def link_with(stream: bytes):
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


def test_what_was_sent_is_believed():
    dues = expected()
    assert believed(STREAM, dues) is None
    for due, sent in zip(dues, PAYLOADS, strict=True):
        np.testing.assert_array_equal(due.payload, sent)


@given(st.integers(0, len(STREAM) - 1), st.integers(1, 255))
@settings(max_examples=120, deadline=None)
def test_a_changed_byte_is_never_believed(at, difference):
    changed = bytearray(STREAM)
    changed[at] ^= difference
    check(bytes(changed))


@given(st.data())
@settings(max_examples=120, deadline=None)
def test_bytes_that_are_cut_out_repeated_moved_or_put_in_are_never_believed(data):
    def position() -> int:
        return data.draw(st.integers(0, len(STREAM)))

    start, stop = sorted((position(), position()))
    piece = STREAM[start:stop]
    at = position()
    check(
        data.draw(
            st.sampled_from(
                [
                    STREAM[:start] + STREAM[stop:],
                    STREAM[:at] + piece + STREAM[at:],
                    STREAM[:at] + data.draw(st.binary(max_size=100)) + STREAM[at:],
                    STREAM[:at],
                ]
            )
        )
    )


@given(st.permutations(range(len(MESSAGES))), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_whole_messages_out_of_their_order_are_never_believed(order, repeats):
    check(b"".join(MESSAGES[index] for index in [*order, *order[:repeats]]))


@pytest.mark.parametrize(
    "forged",
    [
        (Seal(b"x" * 32, RANK), PLACES[0], ALL),  # another key
        (Seal(KEY, 0), PLACES[0], ALL),  # another rank
        (Seal(KEY, RANK), place(0, epoch=EPOCH - 1), ALL),  # an earlier epoch
        (Seal(KEY, RANK), place(0, step=2), ALL),  # an earlier step
        (Seal(KEY, RANK), place(0, kind=TOTAL), ALL),
        (Seal(KEY, RANK), PLACES[1], ALL),  # what comes later
        (Seal(KEY, RANK), PLACES[0], 0),  # meant for another member alone
        (Seal(KEY, RANK), Place(WHOLE, 2, 2, EPOCH, 3, 0, 0), ALL),  # another form
        (Seal(KEY, RANK), Place(WHOLE, 0, 3, EPOCH, 3, 0, 0), ALL),  # a larger group
        (Seal(KEY, RANK), Place(WHOLE, 0, 2, EPOCH, 3, 0, 9), ALL),  # another count: a nonce
    ],
)
def test_a_message_of_another_key_place_or_recipient_is_refused(forged):
    seal, where, recipient = forged
    due = Due(PLACES[0], LENGTHS[0])
    error = believed(seal.close(where, PAYLOADS[0], recipient).tobytes(), [due])
    assert due.payload is None and "rank 1 (pi1) in an exchange: " in str(error)


def test_a_part_is_for_its_recipient_alone():
    where = place(0, kind=PART)
    message = Seal(KEY, RANK).close(where, PAYLOADS[0], 0).tobytes()
    assert believed(message, [Due(where, LENGTHS[0], 0)]) is None
    assert "altered" in str(believed(message, [Due(where, LENGTHS[0], 2)]))


def test_a_report_that_claims_to_be_huge_takes_no_memory():
    where = place(0, kind=REPORT)
    header = where.header(RANK, (1 << 32) - 1)
    assert "at most 67108864" in str(believed(header + b"x" * 100, [Due(where, None, 0)]))


@given(st.binary(min_size=1, max_size=200))
@settings(max_examples=100, deadline=None)
def test_a_report_of_garbage_is_refused(garbage):
    where = place(0, kind=REPORT)
    sealed = Seal(KEY, RANK).close(where, PAYLOADS[0], 0).tobytes()
    for stream in (garbage, sealed[: HEADER.size] + garbage, sealed[:20] + garbage + sealed[20:]):
        due = Due(where, None, 0)
        assert believed(stream, [due]) is not None or stream.startswith(sealed)


def test_no_two_messages_share_a_nonce():
    """Of one sender: other counts, other kinds at one count, other recipients of one part."""
    places = [place(count, kind=kind) for count in range(50) for kind in (WHOLE, PART, TOTAL)]
    nonces = {where.nonce(to) for where in places for to in (ALL, 0, 1, 63)}
    assert len(nonces) == len(places) * 4 and {len(nonce) for nonce in nonces} == {12}
    assert len(MESSAGES[0]) == LENGTHS[0] + OVERHEAD_BYTES

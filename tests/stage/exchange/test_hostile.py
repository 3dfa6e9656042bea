"""No garbled, repeated, late, reordered or forged byte becomes a sum."""

from __future__ import annotations

import numpy as np
import pytest
from bramble.stage.exchange.link import Due
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

from tests.stage.exchange.stream import (
    EPOCH,
    KEY,
    LENGTHS,
    MESSAGES,
    PAYLOADS,
    PLACES,
    RANK,
    STREAM,
    believed,
    check,
    expected,
    place,
)


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

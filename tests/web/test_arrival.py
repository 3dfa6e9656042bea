"""Where a request ends, however it is cut into pieces, and how long each part of it may take."""

from __future__ import annotations

import pytest
from bramble.web.arrival import MAX_HEADER_BYTES, MIN_BYTES_S, Arrival, Patience, Phase
from hypothesis import given
from hypothesis import strategies as st

PATIENCE = Patience(idle_s=15, header_s=10, body_s=30, max_body_bytes=1000)
GET = b"GET /healthz?x HTTP/1.1\r\nHost: pi1\r\n\r\n"
POST = b"POST /v1/x HTTP/1.1\r\nHost: pi1\r\n"
WITH_LENGTH = POST + b"content-length: 0005\r\n\r\nhello"
EMPTY = POST + b"Content-Length: 0\r\n\r\n"
CHUNKED = (
    POST + b"Transfer-Encoding: gzip, Chunked\r\n\r\n"
    b'3\r\nabc\r\n00A ; name="\r"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n'
)
BARE_CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\n\r\n"
AFTER_AN_EMPTY_LINE = b"\r\n" + GET
WHOLE = [GET, WITH_LENGTH, EMPTY, CHUNKED, BARE_CHUNKED, OLD, AFTER_AN_EMPTY_LINE]


def arrival(data: bytes = b"") -> Arrival:
    arrived = Arrival(PATIENCE, 0.0)
    if data:
        arrived.add(data, 0.0)
    return arrived


@given(st.lists(st.sampled_from(WHOLE), min_size=1, max_size=4), st.data())
def test_requests_are_told_apart_however_they_are_cut(
    requests: list[bytes], data: st.DataObject
) -> None:
    sent = b"".join(requests)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1))))
    arrived, found = arrival(), []
    for start, stop in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        arrived.add(sent[start:stop], 0.0)
        while arrived.phase is Phase.COMPLETE:
            assert not arrived.is_last
            found.append(arrived.take(0.0))
            arrived.resume(0.0)
    assert found == requests
    assert arrived.phase is Phase.SILENCE


@pytest.mark.parametrize("whole", WHOLE)
def test_every_part_of_a_request_is_too_little(whole: bytes) -> None:
    for stop in range(1, len(whole)):
        assert arrival(whole[:stop]).phase in (Phase.HEADER, Phase.BODY)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"GET / HTTP/1.1\nHost: x\n",
        b"GET / HTTP/1.1\r\nHost: x\n",
        POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        POST + b"Content-Length: +5\r\n\r\nhello",
        POST + b"Content-Length: 5, 5\r\n\r\nhello",
        POST + b"Content-Length: \r\n\r\nhello",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 5000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"x" * (MAX_HEADER_BYTES + 1),
    ],
)
def test_what_has_no_end_is_handed_on_as_the_last(sent: bytes) -> None:
    arrived = arrival(sent)
    assert arrived.phase is Phase.COMPLETE
    assert arrived.is_last
    assert arrived.take(0.0) == sent


@pytest.mark.parametrize(
    ("sent", "phase"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEADER_BYTES, Phase.HEADER_TOO_LARGE),
        (POST + b"Content-Length: 1001\r\n\r\n", Phase.BODY_TOO_LARGE),
        (POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", Phase.BODY_TOO_LARGE),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n", Phase.BODY_TOO_LARGE),
        (
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"100\r\n" + b"x" * 256 + b"\r\n" * 1
            + b"2FF\r\n",
            Phase.BODY_TOO_LARGE,
        ),
        (POST + b"Content-Length: 1000\r\n\r\n", Phase.BODY),
    ],
)  # fmt: skip
def test_sizes_are_known_before_all_is_here(sent: bytes, phase: Phase) -> None:
    assert arrival(sent).phase is phase


def test_a_header_has_one_deadline_however_many_pieces_it_comes_in() -> None:
    arrived = arrival()
    assert arrived.deadline == 15
    for second, byte in enumerate(GET[:9], start=3):
        arrived.add(bytes([byte]), float(second))
        assert arrived.deadline == 13


def test_a_body_has_to_begin_and_to_keep_a_pace() -> None:
    arrived = Arrival(Patience(15, 10, 30, max_body_bytes=1_000_000), 0.0)
    arrived.add(POST + b"Content-Length: 900000\r\n\r\n", 5.0)
    assert (arrived.phase, arrived.deadline) == (Phase.BODY, 35)
    arrived.add(b"x" * 2 * MIN_BYTES_S, 20.0)
    assert arrived.deadline == 37


def test_what_came_behind_a_request_has_its_time_from_the_answer_on() -> None:
    arrived = arrival(GET + b"GET /he")
    assert arrived.take(0.0) == GET
    arrived.resume(60.0)
    assert (arrived.phase, arrived.deadline) == (Phase.HEADER, 70)
    assert arrival(GET).path == b"/healthz"


def test_silence_after_an_answer_is_counted_from_it() -> None:
    arrived = arrival(GET)
    arrived.take(0.0)
    arrived.resume(60.0)
    assert (arrived.phase, arrived.deadline) == (Phase.SILENCE, 75)


@pytest.mark.parametrize(
    ("version", "body", "awaits"),
    [(b"1.1", b"", True), (b"1.0", b"", False), (b"1.1", b"he", False), (b"1.1", b"hello", False)],
)
def test_a_client_is_told_to_continue_if_it_waits_for_that(
    version: bytes, body: bytes, awaits: bool
) -> None:
    header = POST.replace(b"1.1", version) + b"Content-Length: 5\r\nExpect: 100-Continue\r\n\r\n"
    assert arrival(header + body).awaits_continue is awaits

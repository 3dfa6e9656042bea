"""What members of a group read of each other: greetings of strangers, and messages on the way."""

from __future__ import annotations

from bramble.errors import BadFrame, Broken
from bramble.stage.exchange.greeting import ANSWER, ASK, CONFIRM, Member
from bramble.stage.exchange.link import Due
from bramble.stage.exchange.seal import REPORT, Seal

from tests.stage.exchange.stream import KEY, PAYLOADS, RANK, STREAM, believed, check, place

SALT = bytes(16)
MEMBERS = [Member(KEY, 7, rank, 2, 0, SALT) for rank in range(2)]


def exchange(data: bytes) -> None:
    """A connection's bytes: only what a member sent is believed, and it at its place."""
    check(data)
    report = Due(place(0, kind=REPORT), None, 0)
    assert believed(data, [report]) is None or report.payload is None
    for kind, said in ((ASK, b""), (ANSWER, data[:80]), (CONFIRM, data[:160])):
        for member in MEMBERS:
            try:
                member.believe(data[:80], kind, said)
            except (BadFrame, Broken):
                continue
            assert kind == ASK and member is MEMBERS[0], "nobody but rank 1 has said this"


def seeds() -> list[bytes]:
    """Right inputs: a stream of messages, a report, and a greeting."""
    report = Seal(KEY, RANK).close(place(0, kind=REPORT), PAYLOADS[0], 0).tobytes()
    return [STREAM, report, MEMBERS[1].greet(ASK, 0, b"")]

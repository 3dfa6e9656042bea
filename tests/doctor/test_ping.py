"""Round trips: packets by the RFCs, percentiles by hand, and real echoes of this machine."""

import pytest
from bramble.doctor import ping
from bramble.doctor.ping import NoPing, RoundTrips, judge

STEADY = tuple([0.2] * 99 + [0.3])


def test_a_packet_with_its_checksum_sums_to_zero() -> None:
    assert ping.checksum(ping.pack_echo(7)) == 0
    assert ping.checksum(b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7") == 0x220D  # the example of RFC 1071


def test_only_the_reply_to_this_request_counts() -> None:
    reply = b"\0" + ping.pack_echo(7)[1:]
    assert ping.is_reply(reply, 7)
    assert ping.is_reply(b"\x45" + bytes(19) + reply, 7)  # a raw socket gives the IP header too
    assert not ping.is_reply(reply, 8)
    assert not ping.is_reply(ping.pack_echo(7), 7)
    assert not ping.is_reply(b"\0\0", 7)


def test_percentiles_and_loss_are_those_of_the_round_trips() -> None:
    trips = RoundTrips(4, (3.0, 1.0, 2.0))
    assert (trips.percentile(0.5), trips.percentile(0.99), trips.loss) == (2.0, 3.0, 0.25)


@pytest.mark.parametrize(
    ("trips", "level"),
    [
        (RoundTrips(100, STEADY), "ok"),
        (RoundTrips(100, STEADY[:98]), "warning"),
        (RoundTrips(100, STEADY[:80]), "error"),
        (RoundTrips(100, (2.0,) * 100), "warning"),
        (RoundTrips(100, (0.2,) * 98 + (30.0,) * 2), "warning"),
        (RoundTrips(100, ()), "error"),
    ],
)
def test_a_neighbour_is_judged_by_loss_middle_and_late_replies(
    trips: RoundTrips, level: str
) -> None:
    finding = judge("pi2", "10.0.0.12", trips)
    assert finding.level == level and "pi2 (10.0.0.12)" in finding.sentence
    assert bool(finding.advice) == (level != "ok")


def test_this_machine_answers_its_own_pings() -> None:
    try:
        trips = ping.round_trips("127.0.0.1", count=5)
    except NoPing:
        pytest.skip("this user may not send pings: sysctl net.ipv4.ping_group_range, or be root")
    assert len(trips.times_ms) == 5 and max(trips.times_ms) < 500


def test_an_address_that_cannot_be_sent_to_loses_every_ping() -> None:
    try:
        assert ping.round_trips("255.255.255.255", count=2).times_ms == ()  # broadcast: forbidden
    except NoPing:
        pytest.skip("this user may not send pings: sysctl net.ipv4.ping_group_range, or be root")

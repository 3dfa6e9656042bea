"""Round trips to another node by ICMP echo: how long, how steady, how many lost."""

from __future__ import annotations

import contextlib
import socket
import statistics
import struct
import time
from dataclasses import dataclass

from bramble.doctor.finding import Finding, absent, error, ok, warning

COUNT = 100
INTERVAL_S = 0.02
TIMEOUT_S = 0.5  # a reply later than that counts as lost
GIVE_UP = 5  # lost ones at the beginning: nobody is there
PAYLOAD = bytes(56)  # as ping(8) sends
ECHO_REQUEST, ECHO_REPLY = 8, 0
SLOW_MS = 1.0  # two Pis on one switch: 0.2 ms, and up to 0.3 with EEE
UNSTEADY_MS = 5.0
MAX_LOSS = 0.05  # above it TCP crawls
REACH = (
    "see that the node is on and its cable is in; ping it from here; ansible-playbook status.yml"
)
SWITCH = "connect both nodes to the same switch; EEE off (site.yml --tags base); try another cable"


@dataclass(frozen=True, slots=True)
class RoundTrips:
    sent: int
    times_ms: tuple[float, ...]

    @property
    def loss(self) -> float:
        return 1 - len(self.times_ms) / self.sent

    def percentile(self, share: float) -> float:
        """The nearest-rank percentile in ms; `share` from 0 to 1."""
        return sorted(self.times_ms)[min(int(share * len(self.times_ms)), len(self.times_ms) - 1)]


class NoPing(Exception):
    """This system lets us send no echo request."""


def neighbour(name: str, address: str, count: int = COUNT) -> Finding:
    try:
        return judge(name, address, round_trips(address, count))
    except NoPing as problem:
        return absent("ping", f"{name}: {problem}")


def judge(name: str, address: str, trips: RoundTrips) -> Finding:
    if not trips.times_ms:
        return error("ping", f"{name} ({address}) answers none of {trips.sent} pings", REACH)
    middle, late = statistics.median(trips.times_ms), trips.percentile(0.99)
    sentence = (
        f"{name} ({address}) answers in {middle:.2f} ms (p50), {late:.2f} ms (p99), "
        f"{trips.loss:.0%} of {trips.sent} lost"
    )
    if trips.loss > MAX_LOSS:
        return error("ping", sentence, SWITCH)
    if trips.loss or middle > SLOW_MS or late > UNSTEADY_MS:
        return warning("ping", sentence, SWITCH)
    return ok("ping", sentence)


def round_trips(address: str, count: int = COUNT) -> RoundTrips:
    """Send `count` echo requests one after another. Raises NoPing."""
    times: list[float] = []
    with _channel() as channel:
        for number in range(count):
            if number == GIVE_UP and not times:
                return RoundTrips(number, ())
            begun = time.perf_counter()
            with contextlib.suppress(OSError):  # no route, nobody there: a lost one
                channel.sendto(pack_echo(number), (address, 0))
                if _is_answered(channel, number, begun + TIMEOUT_S):
                    times.append((time.perf_counter() - begun) * 1000)
            time.sleep(max(0.0, begun + INTERVAL_S - time.perf_counter()))
    return RoundTrips(count, tuple(times))


def pack_echo(number: int) -> bytes:
    """An ICMP echo request, RFC 792; a datagram socket's identifier is set by the kernel."""
    header = struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 0, number)
    return struct.pack("!BBHHH", ECHO_REQUEST, 0, checksum(header + PAYLOAD), 0, number) + PAYLOAD


def checksum(data: bytes) -> int:
    """The ones' complement of the ones' complement sum of 16-bit words, RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def is_reply(packet: bytes, number: int) -> bool:
    """Whether this is the echo reply to request `number`; a raw socket gives the IP header too."""
    if packet and packet[0] >> 4 == 4:
        packet = packet[(packet[0] & 0xF) * 4 :]
    if len(packet) < 8:
        return False
    kind, _, _, _, sequence = struct.unpack("!BBHHH", packet[:8])
    return bool(kind == ECHO_REPLY and sequence == number)


def _channel() -> socket.socket:
    """Open a datagram ICMP socket, or a raw one where net.ipv4.ping_group_range forbids that."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        with contextlib.suppress(OSError):
            return socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP)
    raise NoPing("this user may not send pings; run with sudo")


def _is_answered(channel: socket.socket, number: int, deadline: float) -> bool:
    while (left := deadline - time.perf_counter()) > 0:
        channel.settimeout(left)
        try:
            packet = channel.recv(1500)
        except TimeoutError:
            return False
        if is_reply(packet, number):
            return True
    return False

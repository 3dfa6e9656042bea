"""How long the members of a group take to sum what each of them has: one exchange.

A model of sockets that are polled without sleeping: a message takes the way there and its bytes
over the cable. Beside published exchanges of Raspberry Pi 5s on gigabit it is within 12 %
(tests/plan/test_exchange_time.py). Pure; it knows no tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bramble.plan.pace import Link

FLOAT32, FLOAT16, Q8 = "float32", "float16", "q8"
# Of one number on the wire; q8 is 32 numbers of 8 bits with their float16 scale
NUMBER_BYTES: Mapping[str, float] = MappingProxyType({FLOAT32: 4.0, FLOAT16: 2.0, Q8: 34 / 32})
FORMS = tuple(NUMBER_BYTES)
# Half of a ping's round trip, which a link's latency is, has the receiver woken; members poll
WAKING_S = 0.000_010


def exchange_s(numbers: float, members: int, form: str, link: Link) -> float:
    """The time in which `members` sum `numbers` numbers that each of them has, in seconds.

    One step where that is quicker, and two where that is: see `one_step_s` and `two_steps_s`.
    """
    count = numbers * NUMBER_BYTES[form]
    return min(one_step_s(count, members, link), two_steps_s(count, members, link))


def one_step_s(count: float, members: int, link: Link) -> float:
    """Each sends all of its `count` bytes to all others, and receives theirs by one cable."""
    return _message_s((members - 1) * count, link) if members > 1 else 0.0


def two_steps_s(count: float, members: int, link: Link) -> float:
    """Each sums a part of the `count` bytes for all, then hands the sum out to the others."""
    return 2 * _message_s((members - 1) / members * count, link) if members > 1 else 0.0


def _message_s(count: float, link: Link) -> float:
    return max(0.0, link.latency_s - WAKING_S) + count / link.bytes_s

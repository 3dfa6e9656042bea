"""Who is connected: whose connections wait for a request, in which order, and whose are at work.

Where room is short, the connection that has waited longest gives way: the slow and the idle do,
and whoever sends a request at once does not. Knows addresses alone, no sockets.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable
from typing import Generic, TypeVar

Visitor = TypeVar("Visitor")


class Visitors(Generic[Visitor]):
    """Of one address so many may wait, and so many be at work.

    Neither holds for this machine itself: from here a proxy or a tunnel speaks for everybody.
    """

    def __init__(self, max_per_address: int) -> None:
        self._max_per_address = max_per_address
        self._waiting: dict[Visitor, str] = {}  # to its address; the longest waiting first
        self._working: dict[Visitor, str] = {}
        self._num_working: Counter[str] = Counter()
        self._waiting_of: dict[str, dict[Visitor, None]] = {}  # of one address, in the same order

    @property
    def waiting(self) -> Iterable[Visitor]:
        """Those that wait, the longest waiting first."""
        return tuple(self._waiting)

    def wait(self, visitor: Visitor, address: str) -> Visitor | None:
        """Let a visitor wait for a request of his; return who has to give way for him, if any."""
        self.leave(visitor)
        self._waiting[visitor] = address
        of_address = self._waiting_of.setdefault(address, {})
        of_address[visitor] = None
        if is_loopback(address) or len(of_address) <= self._max_per_address:
            return None
        return next(iter(of_address))

    def work(self, visitor: Visitor) -> bool:
        """Let a visitor's request be answered; False if too many of his address' are already."""
        address = self._waiting[visitor]
        if self._num_working[address] >= self._max_per_address and not is_loopback(address):
            return False
        self.leave(visitor)
        self._working[visitor] = address
        self._num_working[address] += 1
        return True

    def leave(self, visitor: Visitor) -> None:
        if (address := self._waiting.pop(visitor, None)) is not None:
            del self._waiting_of[address][visitor]
            if not self._waiting_of[address]:
                del self._waiting_of[address]
        if (address := self._working.pop(visitor, None)) is not None:
            self._num_working[address] -= 1
            if not self._num_working[address]:
                del self._num_working[address]


def is_loopback(address: str) -> bool:
    """True for this machine's own addresses on loopback, as IPv4, IPv6 or the one in the other."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return bool((mapped or parsed).is_loopback)

"""The exchange between processes: a TCP connection to each other member, polled without sleeping.

Not ZeroMQ, as all else is: its thread for sockets doubles an exchange (service/DESIGN.md).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput, Broken
from bramble.stage.exchange.door import Door
from bramble.stage.exchange.forms import Form
from bramble.stage.exchange.greeting import Member
from bramble.stage.exchange.group import Group
from bramble.stage.exchange.protocol import MAX_REPORT_BYTES, Tally
from bramble.stage.exchange.reduction import Reduction
from bramble.stage.exchange.seal import REPORT

PATIENCE_S = 20.0
KEY_BYTES = 32
MAX_MEMBERS = 64


class TcpExchange:
    """One member's exchange in one epoch; implements `protocol.Exchange`."""

    def __init__(
        self,
        door: Door,
        members: Sequence[tuple[str, str]],
        rank: int,
        epoch: int,
        key: str,
        form: Form,
        alive: Callable[[], None],
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Connect nobody yet: the first step does, when all members know of the epoch.

        members      node and endpoint of each, in rank order, this process's own among them
        key          64 hex digits, of this group and epoch alone
        alive        called about each 0.1 s of waiting; what it raises ends the exchange
        patience_s   how long nothing may come from a member that is waited for

        Raises BadInput for a group that cannot be.
        """
        self.rank, self.size = rank, len(members)
        if not 2 <= self.size <= MAX_MEMBERS or not 0 <= rank < self.size:
            raise BadInput(
                f"exchange: got rank {rank} of {self.size} members, need 2 to {MAX_MEMBERS}"
            )
        member = Member(_key(key), epoch, rank, self.size, form.number)
        self._group = Group(door, members, member, alive, patience_s)
        self._form = form
        self._reductions: deque[Reduction] = deque()

    @property
    def tally(self) -> Tally:
        return self._group.tally

    def begin_step(self, step: int) -> None:
        with ExitStack() as unless_done:
            unless_done.callback(self.close)
            self._group.begin_step(step)
            unless_done.pop_all()

    def reduce(self, partial: NDArray[np.float32]) -> None:
        self.begin_reduce(partial)
        self.end_reduce()

    def begin_reduce(self, partial: NDArray[np.float32]) -> None:
        with _Account(self._group):
            self._group.tally.exchanges += 1
            reduction = Reduction(self._group, self.rank, self._form, partial)
            self._reductions.append(reduction)

    def end_reduce(self) -> None:
        with _Account(self._group):
            self._reductions.popleft().finish()

    def gather(self, mine: bytes) -> list[bytes] | None:
        with _Account(self._group):
            if len(mine) > MAX_REPORT_BYTES:
                raise Broken(f"{len(mine)} bytes for rank 0, at most {MAX_REPORT_BYTES} can be")
            self._group.tally.exchanges += 1
            place = self._group.place(REPORT)
            if self.rank != 0:
                self._group.send(place, np.frombuffer(mine, np.uint8), 0)
                self._group.settle({})
                return None
            due = {rank: self._group.expect(place, None, rank, 0) for rank in self._group.links}
            came = self._group.settle(due)
            return [mine, *(came[rank].tobytes() for rank in range(1, self.size))]

    def close(self) -> None:
        self._group.close()


class _Account:
    """Counts what a call costs by itself; one that fails closes the group, so that others know."""

    def __init__(self, group: Group) -> None:
        self._group = group

    def __enter__(self) -> None:
        self._start, self._waited_us = time.monotonic(), self._group.tally.waiting_us

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._group.close()
        tally = self._group.tally
        tally.own_us += (time.monotonic() - self._start) * 1e6
        tally.own_us -= tally.waiting_us - self._waited_us


def _key(digits: str) -> bytes:
    try:
        key = bytes.fromhex(digits)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise BadInput(f"exchange: got a key of {len(digits)} characters, need 64 hex digits")
    return key

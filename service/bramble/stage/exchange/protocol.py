"""What a stage knows of its group: the sum over all members, and what rank 0 is told.

It knows neither sockets nor keys; `tcp.py` is the exchange between processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

MAX_REPORT_BYTES = 1 << 26  # of what a member gives rank 0 at once


@dataclass(slots=True)
class Tally:
    """What an exchange has cost since its group was formed."""

    exchanges: int = 0  # calls of reduce and gather
    sent_bytes: int = 0  # headers and tags included, to all members together
    own_us: float = 0.0  # packing, encrypting, sending, decrypting and summing
    waiting_us: float = 0.0  # until what the other members send has come
    dropped: int = 0  # connections and messages of strangers, other epochs and other keys


class Exchange(Protocol):
    """The members of one group, as one of them sees them, in one epoch.

    All members call the same methods in the same order with arrays of the same shapes. All
    methods but close raise Broken, with the rank and the node that is to blame, if a member has
    closed its connection, is silent for too long, or sends what is not the next message of this
    epoch, step and order; and whatever `alive` raises. The group is of no use then: the epoch ends.
    """

    rank: int  # this member's, 0 to size - 1
    size: int  # number of members, 2 or more

    @property
    def tally(self) -> Tally: ...

    def begin_step(self, step: int) -> None:
        """Say which step the next calls belong to, before its first one.

        step    at least 0, and higher than the last one's

        The first step of an epoch connects the members with each other. Raises Broken.
        """
        ...

    def reduce(self, partial: NDArray[np.float32]) -> None:
        """Replace `partial` by the sum over all members, summed in rank order.

        partial    float32 (rows, hidden), C-contiguous and writable; the same shape at each member

        Each member gets the same bits. A row's bits do not depend on how many rows there are. In
        float32 they are those of `p[0] + p[1] + …`; in other forms each addend, and with more than
        two members the sum too, is rounded to the form. Raises Broken.
        """
        ...

    def gather(self, mine: bytes) -> list[bytes] | None:
        """Give rank 0 what each member has for it.

        mine       at most MAX_REPORT_BYTES; of any length, also none, and another at each member
        returns    at rank 0 what each member gave, in rank order; elsewhere None at once

        Raises Broken.
        """
        ...

    def close(self) -> None:
        """Close the connections to the other members, who notice at once. May be called twice."""
        ...

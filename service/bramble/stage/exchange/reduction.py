"""One sum over all members, from what each sends first to the bits that all of them have.

In one step each member sends its whole partial sum to all others, and each sums all of them. In
two steps each sums one range of the values, and sends that to the others. Both sum in rank order,
and give the same bits.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bramble.stage.exchange.forms import Form, Span, Values, blocks_per_row
from bramble.stage.exchange.group import Group
from bramble.stage.exchange.link import Due
from bramble.stage.exchange.seal import PART, TOTAL, WHOLE

# What a cable carries in the time that a message takes anyway: 0.085 ms of 117 kB/ms. One step of
# n bytes takes 0.085 + (T - 1) n / 117, two steps 2 * 0.085 + 2 (T - 1) / T * n / 117 ms.
LATENCY_BYTES = 10_000
PIECE_BYTES = 1 << 17  # of a large message, so that one piece is sealed while another travels


class Piece(Protocol):
    def turn(self) -> None:
        """Do what comes after the first messages, up to the next ones."""
        ...

    def finish(self) -> None:
        """Wait for the last messages, and write the sum."""
        ...


class OneStep:
    def __init__(self, group: Group, rank: int, form: Form, values: Values, span: Span) -> None:
        self._group, self._rank, self._form = group, rank, form
        self._values, self._span = values, span
        self._mine = form.pack(values, span)
        place, num_bytes = group.place(WHOLE), form.num_bytes(span)
        self._due = {sender: group.expect(place, num_bytes, sender) for sender in group.links}
        group.send(place, self._mine)

    def turn(self) -> None:
        pass

    def finish(self) -> None:
        came = self._group.settle(self._due)
        came[self._rank] = self._mine
        form, span, values = self._form, self._span, self._values
        form.sum([came[rank] for rank in range(len(came))], span, values)
        if not form.is_exact and len(came) > 2:  # as two steps do
            form.sum([form.pack(values, span)], span, values)


class TwoSteps:
    def __init__(self, group: Group, rank: int, form: Form, values: Values, span: Span) -> None:
        self._group, self._rank, self._form = group, rank, form
        self._values, self._ranges = values, span.split(len(group.links) + 1)
        self._mine = form.pack(values, self._ranges[rank])
        self._totals: dict[int, Due] = {}
        place, num_bytes = group.place(PART), form.num_bytes(self._ranges[rank])
        self._parts = {
            sender: group.expect(place, num_bytes, sender, rank) for sender in group.links
        }
        for owner in group.links:
            group.send(place, form.pack(values, self._ranges[owner]), owner)

    def turn(self) -> None:
        """Sum our own range, and send it to all."""
        came = self._group.settle(self._parts)
        came[self._rank] = self._mine
        span, form = self._ranges[self._rank], self._form
        form.sum([came[rank] for rank in range(len(came))], span, self._values)
        self._mine = form.pack(self._values, span)
        place = self._group.place(TOTAL)
        self._totals = {
            owner: self._group.expect(place, form.num_bytes(self._ranges[owner]), owner)
            for owner in self._group.links
        }
        self._group.send(place, self._mine)

    def finish(self) -> None:
        came = self._group.settle(self._totals)
        came[self._rank] = self._mine
        for rank, total in came.items():
            self._form.sum([total], self._ranges[rank], self._values)


class Reduction:
    """The sum of one array, in pieces that are under way at once."""

    def __init__(self, group: Group, rank: int, form: Form, partial: NDArray[np.float32]) -> None:
        values = partial.reshape(-1)
        assert partial.dtype == np.float32 and np.shares_memory(values, partial)
        spans, is_two = ways(form, len(group.links) + 1, *partial.shape)
        way = TwoSteps if is_two else OneStep
        self._pieces: list[Piece] = [way(group, rank, form, values, span) for span in spans]

    def finish(self) -> None:
        for piece in self._pieces:
            piece.turn()
        for piece in self._pieces:
            piece.finish()


@lru_cache(maxsize=64)
def ways(form: Form, size: int, rows: int, hidden: int) -> tuple[list[Span], bool]:
    """Return the pieces of such an array, and whether they go in two steps."""
    whole = Span(hidden, 0, rows * blocks_per_row(hidden))
    num_bytes = form.num_bytes(whole)
    return whole.split(-(-num_bytes // PIECE_BYTES) or 1), is_in_two_steps(size, num_bytes)


def is_in_two_steps(size: int, num_bytes: int) -> bool:
    """Return whether two steps are quicker than one on a cable, for a packed array of this size."""
    return num_bytes * (size - 1) * (size - 2) > LATENCY_BYTES * size

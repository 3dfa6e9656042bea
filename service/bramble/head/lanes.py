"""Which rows decode together: one lane for each stage, so that all stages work at once.

Places sequences in rows of lanes and moves them. Knows nothing of steps, prompts or time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bramble.head.rows import Rows
from bramble.head.sequence import Sequence, State


@dataclass(slots=True)
class Lane:
    """Rows [start, stop); the first `num_active` of them decode together."""

    number: int
    start: int
    stop: int
    num_active: int = 0
    is_under_way: bool = False


class Lanes:
    def __init__(self, num_lanes: int, width: int, rows: Rows) -> None:
        self._width = width
        self._rows = rows
        self._lanes = [Lane(i, i * width, (i + 1) * width) for i in range(num_lanes)]

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes)

    def __getitem__(self, number: int) -> Lane:
        return self._lanes[number]

    def of(self, row: int) -> Lane:
        return self._lanes[row // self._width]

    def active(self, lane: Lane) -> tuple[Sequence, ...]:
        """Return the sequences that decode together, in the order of their rows."""
        owners = (self._rows.owner(lane.start + i) for i in range(lane.num_active))
        return tuple(owner for owner in owners if owner is not None)

    def free_row(self, lane: Lane) -> int | None:
        """Return the lane's row without owner whose loss hurts least."""
        return self._rows.free_row(lane.start, lane.stop)

    def best(self, kept_row: int | None) -> Lane | None:
        """Return the lane with fewest sequences among those with a row to give.

        Among equals it is the one that has the kept row, then the one that loses least.
        """
        free = {
            number: row
            for number, lane in enumerate(self._lanes)
            if (row := self.free_row(lane)) is not None
        }
        if not free:
            return None
        home = None if kept_row is None else self.of(kept_row).number
        number = min(
            free,
            key=lambda i: (
                self._num_owned(self._lanes[i]),
                i != home,
                self._rows.last_used(free[i]),
            ),
        )
        return self._lanes[number]

    def bring(self, row: int, lane: Lane) -> int:
        """Exchange a row for one of the lane, if it is of another; return where it is now."""
        if lane.start <= row < lane.stop:
            return row
        free = self.free_row(lane)
        assert free is not None
        self._rows.swap(row, free)
        return free

    def gather(self, lane: Lane) -> None:
        """Bring the lane's ready sequences together in its first rows."""
        for row in range(lane.start + lane.num_active, lane.stop):
            owner = self._rows.owner(row)
            if owner is not None and owner.state is State.READY:
                self._rows.swap(row, lane.start + lane.num_active)
                lane.num_active += 1

    def leave(self, row: int) -> int:
        """Take a row out of those that decode together; return where it is now."""
        lane = self.of(row)
        last_active = lane.start + lane.num_active - 1
        if row > last_active:
            return row
        self._rows.swap(row, last_active)
        lane.num_active -= 1
        return last_active

    def spread(self) -> None:
        """Move a stream to a lane whose streams have all ended: a stage idles with each such lane.

        Its row is exchanged once: a token or two per 1,000 it holds (service/DESIGN.md).
        """
        ready = [lane for lane in self._lanes if not lane.is_under_way and lane.num_active > 1]
        if not ready:  # as for a lone stream, at every token
            return
        empty = next((lane for lane in self._lanes if not self._num_owned(lane)), None)
        if empty is None:
            return
        lane = max(ready, key=lambda each: each.num_active)
        lane.num_active -= 1
        self.bring(lane.start + lane.num_active, empty)

    def _num_owned(self, lane: Lane) -> int:
        return sum(self._rows.owner(i) is not None for i in range(lane.start, lane.stop))

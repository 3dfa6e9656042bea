"""How far a client has read a stream: the ids of its events, and Last-Event-ID.

An id is `14.3f2a9c1b`, of several choices `14-7.3f2a9c1b`: a position in each, and the mark of
what computes the reply. Position 1 is the opening, t + 1 is behind t tokens; the finish comes
next, and then the usage, which counts as the first choice's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bramble.errors import BadInput, ReplyNotFound

MARK_LENGTH = 8
_ID = re.compile(r"(\d{1,9}(?:-\d{1,9})*)\.([0-9a-f]*)")


@dataclass(frozen=True, slots=True)
class Place:
    positions: tuple[int, ...] = ()  # () = at the beginning
    mark: str = ""

    def position(self, index: int) -> int:
        return self.positions[index] if index < len(self.positions) else 0

    def received(self, index: int) -> int:
        """Return how many tokens of a choice the client has: of an ended one, maybe more."""
        return max(0, self.position(index) - 1)

    def check(self, mark: str, num_choices: int) -> None:
        """Refuse to go on behind what another model or release has said, or another request.

        Raises BadInput or ReplyNotFound.
        """
        if self.positions and len(self.positions) != num_choices:
            raise BadInput(
                f"Last-Event-ID: it is of a reply with {len(self.positions)} choices, this one has "
                f"{num_choices}; send the id of one of its events"
            )
        if self.positions and self.mark != mark[:MARK_LENGTH]:
            raise ReplyNotFound(
                "the model or its software was changed since that event; send the request again, "
                "without Last-Event-ID"
            )


def read_place(last_event_id: str | None) -> Place:
    """Return what a Last-Event-ID says. Raises BadInput."""
    if not last_event_id:
        return Place()
    found = _ID.fullmatch(last_event_id)
    if found is None:
        raise BadInput(
            f"Last-Event-ID: got {last_event_id[:80]!r}, need the id of an event of this reply"
        )
    return Place(tuple(map(int, found[1].split("-"))), found[2])


def spell(positions: list[int], mark: str) -> str:
    """Return the id of an event."""
    return f"{'-'.join(map(str, positions))}.{mark[:MARK_LENGTH]}"

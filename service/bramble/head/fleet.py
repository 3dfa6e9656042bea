"""All rings of a head: where a request goes, and where it goes on when its ring is lost.

Moving is preempting: the sequence is prefilled elsewhere from its tokens so far, and continues as
it would have, because sampling depends on seed and position only.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence as Several

from bramble.errors import QueueFull, Unavailable
from bramble.head.routing import Load, relief, route
from bramble.head.sequence import Sequence
from bramble.head.served_ring import ServedRing
from bramble.wire.messages import Finish, Sampled

log = logging.getLogger(__name__)

# Requests that may come back from a lost head at once: more than the web processes of a cluster can
# hold open (web/admission.py), so that none is refused. It bounds what a fault could fill.
MAX_RETURNING = 4096


class Fleet:
    def __init__(self, rings: Several[ServedRing], max_queue: int) -> None:
        self.rings = list(rings)
        self.max_queue = max_queue  # over all rings
        self.standing_by: str | None = None  # while another head has the role: which, for a person

    @property
    def is_serving(self) -> bool:
        """True if at least one ring serves."""
        return any(served.is_serving for served in self.rings)

    @property
    def max_length(self) -> int | None:
        """Tokens that a request may have: any planned ring can take it; None before the first."""
        lengths = [served.max_length for served in self.rings if served.max_length is not None]
        return min(lengths, default=None)

    @property
    def reason(self) -> str | None:
        """Which rings do not serve and why, for a person; None if all do."""
        if self.standing_by is not None:
            return self.standing_by
        if len(self.rings) == 1:
            return self.rings[0].reason
        problems = [
            f"ring {index}: {served.reason}"
            for index, served in enumerate(self.rings)
            if served.reason is not None
        ]
        return "; ".join(problems) or None

    def of_node(self, node: str) -> ServedRing | None:
        return next((served for served in self.rings if served.ring.registry.knows(node)), None)

    def is_given_up(self, now: float) -> bool:
        """True if nobody should wait: another head answers, or every ring has failed or is down
        for long."""
        return self.standing_by is not None or all(served.is_given_up(now) for served in self.rings)

    def is_down_for_long(self, now: float) -> bool:
        """True if nobody should wait any longer, accepted or not."""
        down = all(served.is_down_for_long(now) for served in self.rings)
        return self.standing_by is not None or down

    # --------------------------------------------------------------------------------- sequences

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence at the ring that suits it best. Raises QueueFull, Unavailable.

        One that has its place already was accepted by a head that is lost: it is not refused for a
        queue that newcomers have filled meanwhile, and goes before them.
        """
        num_waiting = sum(len(served.scheduler.waiting) for served in self.rings)
        most = self.max_queue + (MAX_RETURNING if sequence.arrival else 0)
        if num_waiting >= most:
            raise QueueFull(
                f"{num_waiting} requests are waiting already, at most {most} may; "
                "try again in a moment"
            )
        serving = [i for i, served in enumerate(self.rings) if served.is_serving]
        for candidates in (serving, range(len(self.rings))):
            ring = self._best(sequence, candidates)
            if ring is not None:
                self.rings[ring].scheduler.add(sequence)
                sequence.ring = ring
                return
        raise Unavailable("the context has just become smaller; ask again", 1)

    def finish(self, sequence: Sequence, finish: Finish) -> None:
        """End a sequence now, wherever it is."""
        self.rings[sequence.ring].scheduler.finish(sequence, finish)

    def stop(self, sequence: Sequence, num_tokens: int) -> None:
        """End a sequence whose text met a stop behind its first `num_tokens` tokens."""
        self.rings[sequence.ring].scheduler.stop(sequence, num_tokens)

    def queue_position(self, sequence: Sequence) -> int:
        """Return 1 for the next one at its ring, 0 for one that runs."""
        waiting = self.rings[sequence.ring].scheduler.waiting
        return waiting.index(sequence) + 1 if sequence in waiting else 0

    def is_lost(self, sequence: Sequence, now: float) -> bool:
        """True if every ring that could run it is down for long, or now has a shorter context."""
        if self.standing_by is not None:
            return True
        return all(
            served.is_down_for_long(now) or not _takes(served, sequence) for served in self.rings
        )

    # ------------------------------------------------------------------------------------- turns

    def accept(self, sampled: Sampled, now: float) -> ServedRing | None:
        """Return the ring whose scheduler waits for this answer; the plan's id tells which."""
        return next((served for served in self.rings if served.accept(sampled, now)), None)

    def of_plan(self, plan_id: bytes) -> ServedRing | None:
        """Return the ring that has this plan now."""
        plans = ((served, served.ring.plan) for served in self.rings)
        return next((each for each, plan in plans if plan and plan.plan_id == plan_id), None)

    def pump(self, now: float) -> None:
        """Send all that can be sent, also what another ring has no room for or has lost."""
        for served in self.rings:
            served.pump(now)
        if len(self.rings) > 1 and any(served.scheduler.waiting for served in self.rings):
            serving = [i for i, served in enumerate(self.rings) if served.is_serving]
            self._evacuate(serving, now)
            self._level(serving, now)

    def tick(self, now: float) -> None:
        for served in self.rings:
            if self.standing_by is not None:
                served.excuse(now)
            served.tick(now)

    # ------------------------------------------------------------------------------------ moving

    def _evacuate(self, serving: list[int], now: float) -> None:
        """Move what waits at rings that do not serve, or not so long a context any more."""
        moved = set()
        for index, served in enumerate(self.rings):
            for sequence in list(served.scheduler.waiting):
                if index in serving and _takes(served, sequence):
                    continue
                to = self._best(sequence, serving)
                if to is not None:
                    self._move(sequence, to)
                    moved.add(to)
        for to in moved:
            self.rings[to].pump(now)

    def _level(self, serving: list[int], now: float) -> None:
        """Give what waits at one ring to another that has room."""
        while (pair := relief([_load(self.rings[i]) for i in serving])) is not None:
            source, to = (serving[i] for i in pair)
            waiting = self.rings[source].scheduler.waiting
            sequence = next((s for s in waiting if _takes(self.rings[to], s)), None)
            if sequence is None:
                return
            self._move(sequence, to)
            self.rings[to].pump(now)  # at once, so that its queue is empty for the next

    def _move(self, sequence: Sequence, to: int) -> None:
        log.info("event=moved request=%s ring=%d to=%d", sequence.request, sequence.ring, to)
        self.rings[sequence.ring].scheduler.withdraw(sequence)
        self.rings[to].scheduler.adopt(sequence)
        sequence.ring = to

    def _best(self, sequence: Sequence, candidates: Several[int]) -> int | None:
        able = [i for i in candidates if _takes(self.rings[i], sequence)]
        if not able:
            return None
        return able[route([_load(self.rings[i], sequence) for i in able])]


def _takes(served: ServedRing, sequence: Sequence) -> bool:
    return served.max_length is not None and sequence.max_tokens <= served.max_length


def _load(served: ServedRing, sequence: Sequence | None = None) -> Load:
    scheduler = served.scheduler
    return Load(
        len(scheduler.running),
        len(scheduler.waiting),
        scheduler.num_rows,
        0 if sequence is None else scheduler.prefix_length(sequence),
    )

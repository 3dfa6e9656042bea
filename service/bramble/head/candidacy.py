"""Whether this head has the role, and with which term: decided by what stages vow, nothing else.

Pure: the time is passed in. It neither sends nor knows what a ring is. WIRE.md ("Terms") has the
rules, and why they suffice.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from bramble.wire.terms import LEASE_S, MAX_TERM, Claim, Vow

log = logging.getLogger(__name__)

SETTLE_S = 3.0  # of listening, before anything is concluded from stages that say nothing
RANK_S = 1.0  # that each candidate waits longer than the one named before it
HEARD_S = 3.0  # a stage beats every second; one that is silent for longer has no say
ASIDE_S = 30.0  # that who hands the role over leaves it to the others


@dataclass(slots=True)
class _Heard:
    vow: Vow
    at: float


class Candidacy:
    """`term` is the one that this head claims; 0 while it stands by."""

    def __init__(
        self,
        node: str,
        incarnation: int,
        candidates: tuple[str, ...],
        stages: tuple[str, ...],
        now: float,
    ) -> None:
        """Stand by.

        candidates  all nodes that may have the role, first choice first; none = this one alone
        stages      the nodes of all rings
        """
        self.term = 0
        self.since = now  # of having the role, or of standing by
        self.reason = "listening to the stages"  # why it stands by, for a person
        self.node = node
        self.candidates = candidates or (node,)
        self._incarnation = incarnation
        self._rank = self.candidates.index(node)
        self._stages = stages
        self._heard: dict[str, _Heard] = {}
        self._leases: dict[str, float] = {}  # stage → until when it obeys this head, for certain
        self._free_since: float | None = None
        self._aside_until = now
        self._last_term = 0  # that this process claimed: none is claimed twice

    @property
    def is_alone(self) -> bool:
        """True if no other node may have the role: nothing is to be feared, and no lease needed."""
        return len(self.candidates) == 1

    @property
    def highest(self) -> int:
        """The highest term that was heard of."""
        return max((heard.vow.term for heard in self._heard.values()), default=0)

    # ------------------------------------------------------------------------------------ stages

    def hear(self, stage: str, vow: Vow, now: float) -> bool:
        """Take in a stage's vow; True if this head has another term now, or none any more."""
        if not 0 <= vow.term <= MAX_TERM:
            return False
        self._heard[stage] = _Heard(vow, now)
        if not self.term:
            return False
        if self._is_ours(vow) and vow.term == self.term:
            if vow.sent_s <= now:
                self._leases[stage] = max(self._leases.get(stage, 0.0), vow.sent_s + LEASE_S)
            return False
        if vow.term < self.term:
            return False
        if self.is_alone or vow.head == self.node:  # our own of before a restart
            self._take(now)
        else:
            self._stand_by(f"{vow.head} took over (term {vow.term})", now)
        return True

    def claim(self, stage: str, now: float) -> Claim | None:
        """Return what to say to a stage: our term, or that an earlier one of ours is over."""
        if self.term:
            return Claim(self.term, now)
        heard = self._heard.get(stage)
        if heard is None or not self._is_ours(heard.vow):
            return None
        return Claim(heard.vow.term, now, is_over=True)

    def has(self, stage: str) -> bool:
        """True if the stage has last said that it obeys this head in this term."""
        heard = self._heard.get(stage)
        return heard is not None and self._is_ours(heard.vow) and heard.vow.term == self.term != 0

    def holds(self, stages: tuple[str, ...], now: float) -> bool:
        """True if all these stages obey this head, and will until after `now`."""
        if self.is_alone:
            return True
        return self.term != 0 and all(self._leases.get(stage, 0.0) > now for stage in stages)

    # -------------------------------------------------------------------------------------- role

    def tick(self, now: float) -> bool:
        """Take the role if it is free; True if so."""
        if self.term or not self._may_take(now):
            return False
        self._take(now)
        return True

    def hand_over(self, now: float) -> None:
        """Give the role up, and leave it to the others for a while."""
        self._stand_by("the role was handed over", now)
        self._aside_until = now + ASIDE_S

    @property
    def leader(self) -> str | None:
        """The node whose head has the role, as far as this one knows."""
        if self.term:
            return self.node
        bound = [heard.vow for heard in self._heard.values() if not heard.vow.is_free]
        return max(bound, key=lambda vow: vow.term).head if bound else None

    def _may_take(self, now: float) -> bool:
        if now < self._aside_until:
            return False
        heard = {stage: each for stage, each in self._heard.items() if now - each.at < HEARD_S}
        if self.is_alone:
            return bool(heard)
        is_free = all(each.vow.is_free or each.vow.head == self.node for each in heard.values())
        if not heard or not is_free:
            self._free_since = None
            return False
        if self._free_since is None:
            self._free_since = now
        has_listened = len(heard) == len(self._stages) or now - self.since >= SETTLE_S
        return has_listened and now - self._free_since >= self._rank * RANK_S

    def _take(self, now: float) -> None:
        if not self.term:
            self.since = now
        self.term = self._last_term = max(self.highest, self._last_term) + 1
        self._leases.clear()
        self.reason = ""
        log.info("event=role term=%d", self.term)

    def _stand_by(self, reason: str, now: float) -> None:
        log.warning("event=stood_down term=%d reason=%r", self.term, reason)
        self.term, self.since, self.reason = 0, now, reason
        self._free_since = None
        self._leases.clear()

    def _is_ours(self, vow: Vow) -> bool:
        return (vow.head, vow.incarnation) == (self.node, self._incarnation)

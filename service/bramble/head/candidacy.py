"""Whether this head has the role, and with which term: decided by what stages vow, nothing else.

Pure: the time is passed in. It neither sends nor knows what a ring is. WIRE.md ("Terms") has the
rules, and why they suffice.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bramble.wire.terms import LEASE_S, MAX_TERM, Claim, Vow

log = logging.getLogger(__name__)

SETTLE_S = 3.0  # of listening, before anything is concluded from stages that say nothing
SURE_S = 0.5  # for which stages have to be free: what a head reads after a pause is of before
RANK_S = 1.0  # that each candidate waits longer than the one before it in their order
HEARD_S = 3.0  # a stage beats every second; one that is silent for longer has no say
FEW_S = 30.0  # with less than a quorum, until the role is given up; stages that load may be silent
ASIDE_S = 5.0  # that who gives the role up leaves it to the others


@dataclass(slots=True)
class _Heard:
    vow: Vow | None  # None = of a release that knows no terms
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
        last_term: int = 0,
    ) -> None:
        """Stand by.

        candidates  all nodes that may have the role, first choice first; none = this one alone
        stages      the nodes of all rings
        last_term   that an earlier process on this node had, if it is known
        """
        self.term = 0
        self.node = node
        self.candidates = candidates or (node,)
        self._since = now  # of having the role, or of standing by
        self._incarnation = incarnation
        self._stages = stages
        self._heard: dict[str, _Heard] = {}
        self._leases: dict[str, float] = {}  # stage → until when it obeys this head, for certain
        self._led_at = self._now = now
        self._free_since: float | None = None
        self._aside_until = now
        self._first_term = 0  # of this time in the role
        self._last_term = last_term  # none is claimed twice

    @property
    def is_alone(self) -> bool:
        """True if no other node may have the role: nothing is to be feared, and no lease needed."""
        return len(self.candidates) == 1

    @property
    def leader(self) -> str | None:
        """The node whose head has the role, as far as this one knows."""
        if self.term:
            return self.node
        heard = [each for each in self._heard.values() if self._now - each.at < FEW_S]
        bound = [each.vow for each in heard if each.vow is not None and not each.vow.is_free]
        return max(bound, key=lambda vow: vow.term).head if bound else None

    @property
    def standing_by(self) -> str | None:
        """Which other head has the role, for a person; None if none is known to, or this one."""
        if self.term or self.is_alone or self.leader in (None, self.node):
            return None
        term = self._highest()
        return f"the head on {self.leader} has the role (term {term}), this one stands by"

    # ------------------------------------------------------------------------------------ stages

    def hear(self, stage: str, vow: Vow | None, now: float) -> bool:
        """Take in a stage's vow; True if this head has another term now, or none any more."""
        if vow is not None and not 0 <= vow.term <= MAX_TERM:
            return False
        self._heard[stage] = _Heard(vow, now)
        if not self.term or vow is None:
            return False
        if self._is_ours(vow):
            if vow.sent_s <= now:
                self._leases[stage] = max(self._leases.get(stage, 0.0), vow.sent_s + LEASE_S)
            return False
        if vow.term < self.term:
            return False
        if self.is_alone or vow.head == self.node:  # our own of before a restart
            self._take(now)
        else:
            self._stand_by(f"the head on {vow.head} took over with term {vow.term}", now)
        return True

    def claim(self, stage: str, now: float) -> Claim | None:
        """Return what to say to a stage: our term, or that an earlier one of ours is over."""
        if self.term:
            return Claim(self.term, now)
        heard = self._heard.get(stage)
        vow = None if heard is None else heard.vow
        if vow is None or vow.incarnation != self._incarnation:
            return None
        return Claim(vow.term, now, is_over=True)

    def has(self, stage: str, now: float) -> bool:
        """True if the stage obeys this head now, so that a ring may use it."""
        if not self.term or stage not in self._heard:
            return False
        if self.is_alone:
            vow = self._heard[stage].vow
            return vow is None or self._is_ours(vow)
        return self._leases.get(stage, 0.0) > now

    def leads(self, now: float) -> bool:
        """True if this head may answer: alone always, else while a quorum of stages obeys it."""
        if self.is_alone:
            return True
        return self._is_quorum([stage for stage in self._stages if self.has(stage, now)])

    def has_quorum(self, now: float) -> bool:
        """True if this head has the role, and nobody else can: a quorum of stages obeys it."""
        return bool(self.term) and self.leads(now)

    def doubt(self, stage: str) -> str:
        """Say why a stage may not be used, for a person."""
        heard = self._heard.get(stage)
        if heard is not None and heard.vow is None:
            return "runs a release that knows no other heads; upgrade it"
        if heard is None or heard.vow is None or self._is_ours(heard.vow) or heard.vow.is_free:
            return "has not confirmed that it obeys this head"
        return f"obeys the head on {heard.vow.head or 'this machine'} (term {heard.vow.term})"

    # -------------------------------------------------------------------------------------- role

    def tick(self, now: float) -> bool:
        """Take the role if it is free, give it up if too few obey; True if either is done."""
        self._now = now
        if self.leads(now):
            self._led_at = now
        if self.term and now - max(self._led_at, self._since) > FEW_S:
            self._hand_over("too few stages obey it", now)
            return True
        if self.term or not self._may_take(now):
            return False
        self._take(now)
        return True

    def hand_over(self, now: float) -> None:
        """Give the role up, and leave it to the others for a while."""
        if self.term:
            self._hand_over("it leaves", now)

    def _hand_over(self, reason: str, now: float) -> None:
        self._stand_by(reason, now)
        self._aside_until = now + ASIDE_S

    def _may_take(self, now: float) -> bool:
        if now < self._aside_until:
            return False
        heard = {stage: each.vow for stage, each in self._heard.items() if now - each.at < HEARD_S}
        if self.is_alone:
            return bool(heard)
        vows = {stage: vow for stage, vow in heard.items() if vow is not None}
        free = [s for s, vow in vows.items() if vow.is_free or vow.head == self.node]
        if not self._is_quorum(free):
            self._free_since = None
            return False
        if self._free_since is None:
            self._free_since = now
        has_listened = len(heard) == len(self._stages) or now - self._since >= SETTLE_S
        return has_listened and now - self._free_since >= SURE_S + self._rank(vows) * RANK_S

    def _rank(self, vows: Mapping[str, Vow]) -> int:
        """How many others this head leaves time to claim before it does.

        Who had the role last comes last: it has ended, or gave it up. But while stages still
        obey a former process of this node they would grant nobody else a term: none is waited for.
        """
        newest = max(vows.values(), key=lambda vow: (vow.term, vow.head), default=None)
        last = newest.head if newest is not None and newest.term else None
        if last != self.node:
            return [node for node in self.candidates if node != last].index(self.node)
        bound = [stage for stage, vow in vows.items() if vow.head == last and not vow.is_free]
        return 0 if self._is_quorum(bound) else len(self.candidates) - 1

    def _is_quorum(self, stages: Collection[str]) -> bool:
        """True for more than half of all stages, and for one half of them: no two sets that are
        quorums lack a common stage."""
        excess = 2 * len(stages) - len(self._stages)
        return excess > 0 or (excess == 0 and self._casting_stage() in stages)

    def _casting_stage(self) -> str:
        """The stage that decides between halves: the first candidate's own, if it has one."""
        both = [node for node in self.candidates if node in self._stages]
        return (*both, *self._stages)[0]

    def _take(self, now: float) -> None:
        self.term = max(self._highest(), self._last_term, self.term) + 1
        self._last_term = self.term
        if not self._first_term:
            self._first_term, self._since = self.term, now
        log.info("event=role term=%d", self.term)

    def _stand_by(self, reason: str, now: float) -> None:
        log.warning("event=stood_down term=%d reason=%r", self.term, reason)
        self.term, self._first_term, self._since = 0, 0, now
        self._free_since = None
        self._leases.clear()

    def _highest(self) -> int:
        """The highest term that was heard of."""
        vows = (heard.vow for heard in self._heard.values())
        return max((vow.term for vow in vows if vow is not None), default=0)

    def _is_ours(self, vow: Vow) -> bool:
        """True if it was vowed to this process, and since it last took the role."""
        is_mine = vow.incarnation == self._incarnation  # no two processes have the same
        return is_mine and 0 < self._first_term <= vow.term <= self.term

"""The control conversation: what stages say of themselves, told to the ring that they are of.

Also whom they obey: a ring is led only while all of its stages obey this head (WIRE.md, "Terms").
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection

import bramble
from bramble.errors import BadFrame
from bramble.head.candidacy import HEARD_S, Candidacy
from bramble.head.fleet import Fleet
from bramble.head.outcomes import Outcomes
from bramble.head.registry import StageEntry
from bramble.head.ring import State
from bramble.head.served_ring import ServedRing
from bramble.wire import messages as m
from bramble.wire.terms import Vow
from bramble.wire.transport import Router

log = logging.getLogger(__name__)

STRANGER = 0  # the incarnation of no head: whoever hears it says hello, also if held for lost


class Control:
    def __init__(
        self,
        router: Router,
        fleet: Fleet,
        incarnation: int,
        outcomes: Outcomes,
        role: Candidacy,
        keep: Callable[[int], None] = lambda term: None,
    ) -> None:
        """Lead the fleet's stages with the terms that `role` takes; `keep` writes each to disk."""
        self._router = router
        self._fleet = fleet
        self._incarnation = incarnation
        self._outcomes = outcomes
        self._role = role
        self._keep = keep

    def read(self, now: float) -> None:
        """Handle all that has arrived."""
        while (received := self._router.receive()) is not None:
            peer, message = received
            match message:
                case m.Hello() | m.Beat() | m.Ready() | m.Failed() if not self._is_true(message):
                    self._outcomes.impostor(message.node, type(message).__name__)
                case m.Hello():
                    self._hello(peer, message, now)
                case m.Beat():
                    self._beat(peer, message, now)
                case m.Ready() | m.Failed():
                    self._loaded(message, now)
                case BadFrame():
                    self._outcomes.bad_frame(message)
                case _:
                    log.warning("event=unexpected conversation=control kind=%s", type(message))

    def _is_true(self, message: m.Hello | m.Beat | m.Ready | m.Failed) -> bool:
        """True if the sender holds the key of the node that it says it is, or of none of ours."""
        return self._fleet.of_node(message.node) is None or self._router.is_from(message.node)

    def _hello(self, peer: bytes, hello: m.Hello, now: float) -> None:
        served = self._fleet.of_node(hello.node)
        if served is None:
            log.warning("event=unknown_node node=%s", hello.node)
            return
        registry, reason = served.ring.registry, f"the stage on {hello.node} started anew"
        is_new = registry.hello(peer, hello, now)
        if is_new:  # before its vow, which may begin the ring anew as well
            served.blame(reason, _fatal(hello, served.ring.epoch))
        self._hear(hello.node, hello.vow, now)
        self._answer(peer, hello.node, self._incarnation, now)
        if hello.version != bramble.__version__:
            log.warning("event=version_differs node=%s version=%s", hello.node, hello.version)
        if is_new:
            registry.note_doubt(hello.node, self._doubt(hello.node, now))
            log.info("event=hello node=%s endpoint=%s", hello.node, hello.endpoint)
            served.restart(now, reason, ())
        else:
            self.follow(now)
            self._repeat(peer, served, hello.node)

    def _beat(self, peer: bytes, beat: m.Beat, now: float) -> None:
        """Answered even if unknown: another incarnation tells a stage to say hello again."""
        served = self._fleet.of_node(beat.node)
        if served is None:
            self._router.send(peer, m.Beat("head", self._incarnation))
        elif served.ring.registry.beat(peer, beat, now):
            self._hear(beat.node, beat.vow, now)
            self._answer(peer, beat.node, self._incarnation, now)
            self.follow(now)
            self._repeat(peer, served, beat.node)
        else:
            self._router.send(peer, m.Beat("head", STRANGER))

    def _repeat(self, peer: bytes, served: ServedRing, node: str) -> None:
        """Tell a stage its assignment again if that, or the answer to it, was lost."""
        is_loading = served.ring.state is State.LOADING
        if is_loading and (assign := served.ring.registry.missed(node)) is not None:
            log.info("event=assign_again node=%s epoch=%d", node, assign.epoch)
            self._router.send(peer, assign)

    # --------------------------------------------------------------------------------- the role

    def tick(self, now: float) -> None:
        """Take the role or give it up, if it is time."""
        if self._role.tick(now):
            self._declare(now)

    def hand_over(self, now: float) -> None:
        """Give the role up, so that another head need not wait until stages miss this one."""
        if not self._role.is_alone:
            self._role.hand_over(now)
            self._declare(now)

    def follow(self, now: float) -> None:
        """Have each ring wait while not all of its stages obey this head, and begin once they do.

        Before anything is read of what stages have computed: what comes after the time for which
        they have promised to obey is not told to anybody.
        """
        self._fleet.standing_by = self._role.standing_by
        for served in self._fleet.rings:
            registry = served.ring.registry
            nodes = [entry.node for entry in registry.entries]
            changed = [n for n in nodes if registry.note_doubt(n, self._doubt(n, now))]
            if not changed:
                continue
            was_led, is_led = served.ring.state is not State.WAITING, registry.is_complete
            if was_led or is_led:
                reason = "all stages obey this head" if is_led else "not all stages obey this head"
                # A stage, maybe: also where, without it, too few are left to lead
                is_silent = any(now - entry.heard_at > HEARD_S for entry in registry.entries)
                has_ended = was_led and not is_led and (is_silent or self._role.leads(now))
                served.restart(now, reason, None if has_ended else ())

    def _hear(self, node: str, vow: Vow | None, now: float) -> None:
        if self._role.hear(node, vow, now) or self._role.tick(now):
            self._declare(now)

    def _declare(self, now: float) -> None:
        """This head has another term, or none: say so at once to all stages that are there."""
        if self._role.term:
            self._keep(self._role.term)
        for served in self._fleet.rings:
            served.ring.term = self._role.term
            for entry in served.ring.registry.entries:
                if entry.is_present:
                    self._answer(entry.peer, entry.node, self._incarnation, now)
        self.follow(now)

    def _doubt(self, node: str, now: float) -> str | None:
        """Say why a stage may not be led now; None if it may."""
        if not self._role.has(node, now):
            return self._role.doubt(node)
        return None if self._role.leads(now) else "obeys this head, but too few others do"

    def _answer(self, peer: bytes, node: str, incarnation: int, now: float) -> None:
        claim = self._role.claim(node, now)
        self._router.send(peer, m.Beat("head", incarnation, claim=claim))

    # --------------------------------------------------------------------------------- shards

    def _loaded(self, message: m.Ready | m.Failed, now: float) -> None:
        served = self._fleet.of_node(message.node)
        if served is None:
            return
        registry = served.ring.registry
        if isinstance(message, m.Failed) and message.step >= 0:
            if registry.speaks_of_now(message):
                log.error("event=step_failed node=%s reason=%r", message.node, message.reason)
                reason = f"the stage on {message.node} failed: {message.reason}"
                served.ring.note_failed_step(reason)
                served.restart(now, reason, {message.step})
        elif isinstance(message, m.Failed):
            if registry.failed(message, now):
                served.ring.fail_load(now)
        elif registry.ready(message, now) and registry.is_ready:
            served.begin(now)


def _fatal(hello: m.Hello, epoch: int) -> Collection[int] | None:
    """Return the numbers of the present epoch's steps that may have ended the stage; None = all.

    What ended it in an epoch before this one has been counted when that was over.
    """
    if hello.died_in is None:
        return None
    ended_epoch, step = hello.died_in
    return {step} if ended_epoch == epoch else ()


def assign(router: Router, entry: StageEntry, message: m.Assign) -> None:
    """Tell a stage what to run."""
    router.send(entry.peer, message)

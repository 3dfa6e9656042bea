"""The control conversation: what stages say of themselves, told to the ring that they are of."""

from __future__ import annotations

import logging

import bramble
from bramble.errors import BadFrame
from bramble.head.fleet import Fleet
from bramble.head.outcomes import Outcomes
from bramble.head.registry import StageEntry
from bramble.head.served_ring import ServedRing
from bramble.wire import messages as m
from bramble.wire.transport import Router

log = logging.getLogger(__name__)

STRANGER = 0  # the incarnation of no head: whoever hears it says hello, also if held for lost


class Control:
    def __init__(self, router: Router, fleet: Fleet, incarnation: int, outcomes: Outcomes) -> None:
        self._router = router
        self._fleet = fleet
        self._incarnation = incarnation
        self._outcomes = outcomes

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
        self._router.send(peer, m.Beat("head", self._incarnation))
        if hello.version != bramble.__version__:
            log.warning("event=version_differs node=%s version=%s", hello.node, hello.version)
        if served.ring.registry.hello(peer, hello, now):
            log.info("event=hello node=%s endpoint=%s", hello.node, hello.endpoint)
            served.restart(now, f"the stage on {hello.node} started anew")
        else:
            self._repeat(peer, served, hello.node)

    def _beat(self, peer: bytes, beat: m.Beat, now: float) -> None:
        """Answered even if unknown: another incarnation tells a stage to say hello again."""
        served = self._fleet.of_node(beat.node)
        is_known = served is None or served.ring.registry.beat(peer, beat, now)
        self._router.send(peer, m.Beat("head", self._incarnation if is_known else STRANGER))
        if is_known and served is not None:
            self._repeat(peer, served, beat.node)

    def _repeat(self, peer: bytes, served: ServedRing, node: str) -> None:
        """Tell a stage its assignment again if that, or the answer to it, was lost."""
        if (assign := served.ring.registry.missed(node)) is not None:
            log.info("event=assign_again node=%s epoch=%d", node, assign.epoch)
            self._router.send(peer, assign)

    def _loaded(self, message: m.Ready | m.Failed, now: float) -> None:
        served = self._fleet.of_node(message.node)
        if served is None:
            return
        registry = served.ring.registry
        if isinstance(message, m.Failed) and message.step >= 0:
            if registry.speaks_of_now(message):
                log.error("event=step_failed node=%s reason=%r", message.node, message.reason)
                reason = f"the stage on {message.node} failed: {message.reason}"
                served.restart(now, reason, {message.step})
        elif isinstance(message, m.Failed):
            if registry.failed(message, now):
                served.ring.fail_load(now)
        elif registry.ready(message, now) and registry.is_ready:
            served.begin(now)


def assign(router: Router, entry: StageEntry, message: m.Assign) -> None:
    """Tell a stage what to run."""
    router.send(entry.peer, message)

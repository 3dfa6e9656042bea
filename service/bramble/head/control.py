"""The control conversation: what stages say of themselves, told to the ring that they are of."""

from __future__ import annotations

import logging

import bramble
from bramble.errors import BadFrame
from bramble.head.outcomes import Outcomes
from bramble.head.registry import StageEntry
from bramble.head.served_ring import ServedRing
from bramble.wire import messages as m
from bramble.wire.transport import Router

log = logging.getLogger(__name__)


class Control:
    def __init__(
        self, router: Router, served: ServedRing, incarnation: int, outcomes: Outcomes
    ) -> None:
        self._router = router
        self._served = served
        self._incarnation = incarnation
        self._outcomes = outcomes

    def read(self, now: float) -> None:
        """Handle all that has arrived."""
        registry, ring = self._served.ring.registry, self._served.ring
        while (received := self._router.receive()) is not None:
            peer, message = received
            match message:
                case m.Hello():
                    self._hello(peer, message, now)
                case m.Beat():
                    # Answered even if unknown: our incarnation tells a stage to say hello again.
                    registry.beat(peer, message, now)
                    self._router.send(peer, m.Beat("head", self._incarnation))
                case m.Ready():
                    if registry.ready(message, now) and registry.is_ready:
                        self._served.begin(now)
                case m.Failed():
                    if registry.failed(message, now):
                        ring.fail("a stage cannot load its shard", now)
                case BadFrame():
                    self._outcomes.bad_frame(message)
                case _:
                    log.warning("event=unexpected conversation=control kind=%s", type(message))

    def _hello(self, peer: bytes, hello: m.Hello, now: float) -> None:
        registry = self._served.ring.registry
        if not registry.knows(hello.node):
            log.warning("event=unknown_node node=%s", hello.node)
            return
        self._router.send(peer, m.Beat("head", self._incarnation))
        if hello.version != bramble.__version__:
            log.warning("event=version_differs node=%s version=%s", hello.node, hello.version)
        if registry.hello(peer, hello, now):
            log.info("event=hello node=%s endpoint=%s", hello.node, hello.endpoint)
            self._served.restart(now)


def assign(router: Router, entry: StageEntry, message: m.Assign) -> None:
    """Tell a stage what to run."""
    router.send(entry.peer, message)

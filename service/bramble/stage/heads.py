"""The heads that a stage knows: a connection to each, and which of them it obeys.

It knows what heads say of themselves; assignments it hands on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from bramble.config import StageConfig
from bramble.errors import BadFrame, BadInput, Broken
from bramble.stage.allegiance import Allegiance
from bramble.wire import messages as m
from bramble.wire.terms import Claim, Kept, Vow
from bramble.wire.transport import Channel, Transport

log = logging.getLogger(__name__)

HEAD_LOST_S = 10.0  # without an answer to our beats: say hello again, on a new connection


class Head:
    """One head, by the node on which it is; its key proves that it is there."""

    def __init__(self, transport: Transport, endpoint: str, node: str, now: float) -> None:
        self.endpoint = endpoint
        self.node = node
        self.incarnation: int | None = None  # of the process that answered our hello
        self.heard_at = now
        self._transport = transport
        self.channel = transport.dealer(endpoint, node)

    def reconnect(self, now: float) -> None:
        self.channel.close()
        self.channel = self._transport.dealer(self.endpoint, self.node)
        self.heard_at, self.incarnation = now, None

    def tell(self, message: m.ControlMessage) -> None:
        try:
            self.channel.send(message)
        except Broken as error:
            log.warning("event=head_unreachable head=%s reason=%r", self.endpoint, str(error))


class Heads:
    def __init__(
        self, config: StageConfig, transport: Transport, hello: Callable[[Vow], m.Hello]
    ) -> None:
        """Connect to all heads. Raises BadInput.

        hello  what to greet a head with, given whom this stage obeys
        """
        check(config)
        now = time.monotonic()
        places = {config.head_node: config.head, **config.other_heads}
        self.all = [Head(transport, place, node, now) for node, place in places.items()]
        self.allegiance = Allegiance(Kept(config.term), now, is_alone=not config.other_heads)
        self._hello = hello
        self.has_news = False  # whom it obeys has changed since it last beat
        self._assigns: list[tuple[Head, m.Assign]] = []  # that came, maybe amid a step

    @property
    def channels(self) -> list[Channel]:
        return [head.channel for head in self.all]

    @property
    def vow(self) -> Vow:
        return self.allegiance.vow(time.monotonic())

    @property
    def has_assigned(self) -> bool:
        """True if an assignment waits to be taken."""
        return bool(self._assigns)

    @property
    def is_greeted(self) -> bool:
        """True if a head has answered."""
        return any(head.incarnation is not None for head in self.all)

    @property
    def places(self) -> str:
        """Where heads are, for a person."""
        return " or ".join(head.endpoint for head in self.all)

    def close(self) -> None:
        for head in self.all:
            head.channel.close()

    # -------------------------------------------------------------------------------------- out

    def greet(self) -> None:
        """Say hello to each head that has not answered one."""
        for head in self.all:
            if head.incarnation is None:
                self._greet(head)

    def beat(self, beat: m.Beat) -> None:
        """Tell every head that has answered our hello."""
        self.has_news = False
        for head in self.all:
            if head.incarnation is not None:
                head.tell(beat)

    def renew(self, now: float) -> bool:
        """Connect anew to the heads that have fallen silent; True if there were any."""
        lost = [head for head in self.all if now - head.heard_at > HEAD_LOST_S]
        for head in lost:
            log.warning("event=head_lost head=%s", head.endpoint)
            head.reconnect(now)
        return bool(lost)

    def excuse(self, seconds: float) -> None:
        """Nothing was read for so long: what heads may have said counts as heard then."""
        now = time.monotonic()
        for head in self.all:
            head.heard_at = min(now, head.heard_at + seconds)

    def _greet(self, head: Head) -> None:
        head.tell(self._hello(self.vow))

    # --------------------------------------------------------------------------------------- in

    def take_assigns(self) -> list[tuple[Head, m.Assign]]:
        """Return what heads have assigned since this was last called."""
        assigns, self._assigns = self._assigns, []
        return assigns

    def read(self) -> None:
        """Take in what heads say of themselves, amid a step too, and keep what they assign."""
        for head in self.all:
            while (message := self._receive(head)) is not None:
                head.heard_at = time.monotonic()
                if isinstance(message, m.Assign):
                    self._assigns.append((head, message))
                elif isinstance(message, m.Beat):
                    self._hear(head, message)

    def accepts(self, head: Head, assign: m.Assign) -> bool:
        """True if the head may assign a shard: this stage obeys it.

        A higher term is granted as if it had been claimed. A head of a release without terms is
        obeyed where no other head is known.
        """
        if assign.term == 0:
            return len(self.all) == 1
        if head.incarnation:
            self._weigh(head, head.incarnation, Claim(assign.term, 0.0))
        return self.allegiance.obeys(head.node, head.incarnation or 0)

    def _receive(self, head: Head) -> m.Message | None:
        while True:
            try:
                return head.channel.receive()
            except BadFrame as error:
                log.warning("event=bad_frame reason=%r", str(error))

    def _hear(self, head: Head, beat: m.Beat) -> None:
        """Greet a head that has restarted since it answered our hello; weigh what it claims."""
        has_restarted = head.incarnation not in (None, beat.incarnation)
        head.incarnation = beat.incarnation
        if has_restarted:
            log.info("event=head_restarted head=%s", head.endpoint)
            self._greet(head)
        if beat.claim is not None and beat.incarnation:
            self._weigh(head, beat.incarnation, beat.claim)

    def _weigh(self, head: Head, incarnation: int, claim: Claim) -> None:
        if self.allegiance.hear(head.node, incarnation, claim, time.monotonic()):
            self.has_news = True


def check(config: StageConfig) -> None:
    """Raise BadInput where several heads are known and it could not be kept which is obeyed."""
    if not config.other_heads:
        return
    if config.head_node in config.other_heads or not config.head_node:
        raise BadInput(
            f"head_node is {config.head_node!r} and other_heads are "
            f"{', '.join(config.other_heads)}: name each node once"
        )
    if config.term is None:
        raise BadInput("other_heads are given, but no term: name the file that keeps whom to obey")

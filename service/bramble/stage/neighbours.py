"""Whom a stage hears and whom it tells, in one epoch.

Steps come from the head or from rank 0 of the stage before, and go on to all members of the next
stage, from the last one as an answer to the head. Of a group rank 0 alone sends.
"""

from __future__ import annotations

import logging

from bramble.errors import Broken
from bramble.stage.answer import is_of_one_token, sampled
from bramble.stage.engine import StepResult
from bramble.wire import messages as m
from bramble.wire.fan import Fan, to_all
from bramble.wire.frames import forward, pack
from bramble.wire.transport import Channel, Transport

log = logging.getLogger(__name__)

Trace = tuple[int, int, int]  # µs: waiting, compute, Python


class Neighbours:
    def __init__(self, transport: Transport, steps: Channel) -> None:
        """steps  where they arrive"""
        self._transport, self._steps = transport, steps
        self._next: Channel | Fan | None = None  # None where rank 0 sends
        self._first: Channel | None = None  # of the last of several stages
        self._previous_node = self._last_node = ""
        self._has_told = False  # in this epoch, that somebody else sends steps

    def adopt(self, assign: m.Assign) -> None:
        """Turn to those of another epoch. Raises BadInput for addresses that are none."""
        for way in (self._next, self._first):
            if way is not None:
                way.close()
        self._next = self._first = None
        self._previous_node, self._last_node = assign.previous_node, assign.last_node
        self._has_told = False
        if assign.next:
            self._next = to_all(self._transport, assign.next)
        if assign.first_endpoint:
            self._first = self._transport.push(assign.first_endpoint, assign.first_node)

    @property
    def is_sending(self) -> bool:
        """False where rank 0 of the group sends for this member."""
        return self._next is not None

    def hears(self, message: m.Step | m.Sampled) -> bool:
        """True if the message received last came from whom it has to come.

        From whoever has a key, where the head is of a release that names nobody.
        """
        sender = self._previous_node if isinstance(message, m.Step) else self._last_node
        if not sender or self._steps.is_from(sender):
            return True
        if not self._has_told:
            self._has_told = True
            log.error(
                "event=impostor kind=%s epoch=%d reason='not of the node that sends to this one'",
                type(message).__name__,
                message.epoch,
            )
        return False

    def pass_on(self, step: m.Step, frames: list[bytes], result: StepResult, trace: Trace) -> None:
        """Send what a step came to, where this member does; frames are the step's own."""
        if self._next is None:
            return
        if result.hidden is not None:
            answer = forward(frames, result.hidden, trace, result.digest)
        else:
            answer = pack(sampled(step, result, trace))
            if self._first is not None and is_of_one_token(step):
                self._first.offer_frames(answer)
        try:
            self._next.send_frames(answer)
        except Broken as error:
            log.warning("event=next_unreachable reason=%r", str(error))

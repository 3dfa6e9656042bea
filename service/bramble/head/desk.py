"""The client conversation: requests from the question over the tokenizer to the last event.

Tokens become text here, one request at a time; which steps they take is the scheduler's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from bramble.errors import BadFrame, PoisonRequest, QueueFull, Unavailable
from bramble.head.fleet import Fleet
from bramble.head.outcomes import Outcomes
from bramble.head.preparation import prepare, refusal, text_bytes
from bramble.head.preparer import Job, Preparer
from bramble.head.request import Request
from bramble.head.step_plan import Emission
from bramble.model.manifest import Manifest
from bramble.model.tokenizer import Tokenizer
from bramble.wire import messages as m
from bramble.wire.transport import Router

log = logging.getLogger(__name__)

BEAT_S = 1.0
RETRY_AFTER_S = 10
MAX_WAITING_BYTES = 32 << 20  # of prompts that wait for the tokenizer; one more gets a 429


@dataclass(frozen=True, slots=True)
class Model:
    """What a request is opened with."""

    manifest: Manifest
    export: str  # sha256 of the manifest
    tokenizer: Tokenizer


@dataclass(slots=True, eq=False)
class _Asked:
    """A request on its way through the tokenizer."""

    peer: bytes
    message: m.Generate
    num_bytes: int  # of text, about
    at: float  # when it came
    heard_at: float  # when its client was last told that it waits
    job: Job[_Prepared] | None = None


_Prepared = tuple[_Asked, Request | m.Refused]


class Desk:
    def __init__(
        self,
        router: Router,
        model: Model,
        fleet: Fleet,
        outcomes: Outcomes,
        status: Callable[[float], dict[str, object]],
    ) -> None:
        self._router = router
        self._model = model
        self._fleet = fleet
        self._outcomes = outcomes
        self._status = status
        self._preparer: Preparer[_Prepared] = Preparer()
        self._asked: dict[str, _Asked] = {}
        self._is_open = False  # from the first plan on; requests that come before wait for it
        self._is_leaving = False
        self._requests: dict[str, Request] = {}
        self.bell = self._preparer.bell

    def close(self) -> None:
        self._preparer.close()

    @property
    def has_replies(self) -> bool:
        return bool(self._requests)

    def leave(self) -> None:
        """Take nothing more on. Who has no token yet is held, and asks the next head."""
        self._is_leaving = True
        log.info("event=leaving replies=%d", len(self._requests))
        for asked in self._asked.values():
            self._drop_job(asked)
        for request in list(self._requests.values()):
            if request.first_token_at is None and not request.asked.generated:
                self._cancel(request)
                self._asked[request.asked.request] = _Asked(
                    peer=request.peer,
                    message=request.asked,
                    num_bytes=0,  # it is not tokenized here again
                    at=request.arrived_at,
                    heard_at=request.heard_at,
                )

    # ------------------------------------------------------------------------------- from clients

    def read(self, now: float) -> None:
        """Handle all that has arrived from clients and from the tokenizer."""
        while (received := self._router.receive()) is not None:
            peer, message = received
            match message:
                case m.Generate():
                    self._generate(peer, message, now)
                case m.Cancel(request=name):
                    self._drop(name)
                    if (request := self._requests.get(name)) is not None:
                        self._cancel(request)
                case m.Query(request=name):
                    self._router.send(peer, m.Status(name, self._status(now)))
                case BadFrame():
                    self._outcomes.bad_frame(message)
                case _:
                    log.warning("event=unexpected conversation=client kind=%s", type(message))
        if not self._is_open:
            self._open()
        self._read_prepared(now)

    def _open(self) -> None:
        """With the first plan the context is known, and what was asked before can be prepared."""
        if self._fleet.max_length is None or self._is_leaving:
            return
        self._is_open = True
        for early in self._asked.values():
            self._submit(early, self._fleet.max_length)

    def _generate(self, peer: bytes, asked: m.Generate, now: float) -> None:
        if (earlier := self._requests.get(asked.request)) is not None:
            self._cancel(earlier)  # the same client again: it did not hear our answer
        if self._fleet.is_given_up(now):
            problem = Unavailable(f"no ring serves: {self._fleet.reason}", RETRY_AFTER_S)
            self._router.send(peer, refusal(asked.request, problem))
            return
        if asked.generated and asked.export not in ("", self._model.export):
            problem = Unavailable("the model was changed during this reply; ask again", 1)
            self._router.send(peer, refusal(asked.request, problem))
            return
        before = self._drop(asked.request)  # asked again, while it waits
        at = now if before is None else before.at
        held = _Asked(peer, asked, text_bytes(asked), at, now)
        full = self._lack_of_room(held)
        if full is not None and before is None and not asked.export:
            self._router.send(peer, refusal(asked.request, full))
            return  # what was accepted once is never refused for a lack of room
        self._asked[asked.request] = held
        if self._is_open and self._fleet.max_length is not None and not self._is_leaving:
            self._submit(held, self._fleet.max_length)

    def _lack_of_room(self, asked: _Asked) -> QueueFull | None:
        """What is wrong with one more request, if too much text waits already."""
        waiting = sum(each.num_bytes for each in self._asked.values())
        if not waiting or waiting + asked.num_bytes <= MAX_WAITING_BYTES:
            return None
        return QueueFull(
            f"{waiting >> 20} MiB of prompts wait for the tokenizer, at most "
            f"{MAX_WAITING_BYTES >> 20} may; try again in a moment"
        )

    def _submit(self, asked: _Asked, max_length: int) -> None:
        tokenizer, manifest = self._model.tokenizer, self._model.manifest

        def run() -> _Prepared:
            peer, message, at = asked.peer, asked.message, asked.at
            return asked, prepare(peer, message, tokenizer, manifest, max_length, at)

        asked.job = self._preparer.submit(run, asked.num_bytes, asked.at)

    def _drop(self, name: str) -> _Asked | None:
        """Forget a request that is not tokenized yet; no more time is spent on it."""
        asked = self._asked.pop(name, None)
        if asked is not None:
            self._drop_job(asked)
        return asked

    def _drop_job(self, asked: _Asked) -> None:
        if asked.job is not None:
            self._preparer.drop(asked.job)

    def _read_prepared(self, now: float) -> None:
        while (prepared := self._preparer.take()) is not None:
            asked, outcome = prepared
            name = asked.message.request
            if self._asked.get(name) is not asked or self._is_leaving:
                continue  # cancelled, asked again or for the next head, while it was tokenized
            del self._asked[name]
            if isinstance(outcome, Request):
                self._enqueue(outcome, now)
            else:
                self._router.send(asked.peer, outcome)

    def _enqueue(self, request: Request, now: float) -> None:
        try:
            if request.sequence.finish is None:
                self._fleet.add(request.sequence)
        except Unavailable as error:
            self._router.send(request.peer, refusal(request.asked.request, error))
            return
        self._requests[request.asked.request] = request
        num_tokens = request.sequence.num_prompt_tokens
        accepted = m.Accepted(request.asked.request, num_tokens, self._model.export)
        if not self._tell(request, accepted, now):
            self._cancel(request)
        elif request.sequence.finish is not None:
            self._end(request, request.done(now))

    # --------------------------------------------------------------------------------- to clients

    def note_start(self, name: str, now: float) -> None:
        """A step is sent for a request: it waits no longer."""
        request = self._requests.get(name)
        if request is not None and request.started_at is None:
            request.started_at = now

    def emit(self, emission: Emission, sampled: m.Sampled, now: float) -> None:
        """Turn a new token into an event for whoever asked for it."""
        request = self._requests.get(emission.sequence.request)
        if request is None:
            return
        if request.first_token_at is None:
            request.first_token_at = now
        delta = request.delta(emission, sampled)
        if request.has_met_stop:
            self._fleet.stop(request.sequence, emission.num_tokens)
        if not self._tell(request, delta, now):
            self._cancel(request)
        elif request.sequence.finish is not None and emission.is_newest:
            self._end(request, request.done(now))

    def tick(self, now: float) -> None:
        """Tell those who got nothing for a second how far they are; refuse where none can be.

        Whoever cannot be told has left: nothing more is done for them.
        """
        self._refuse_lost(now)
        for name, asked in list(self._asked.items()):
            if now - asked.heard_at < BEAT_S:
                continue
            asked.heard_at = now
            if not self._router.send(asked.peer, m.Progress(name, 0, 0, 0)):
                self._drop(name)
        for request in list(self._requests.values()):
            if now - request.heard_at >= BEAT_S and not self._tell(
                request, self._progress(request), now
            ):
                self._cancel(request)

    def _tell(self, request: Request, event: m.ClientMessage, now: float) -> bool:
        request.heard_at = now
        return self._router.send(request.peer, event)

    def _end(self, request: Request, event: m.Done | m.Refused) -> None:
        del self._requests[request.asked.request]
        self._router.send(request.peer, event)
        if isinstance(event, m.Refused):
            self._outcomes.failed += 1
            return
        self._outcomes.completed += 1
        log.info(
            "event=done request=%s finish=%s prompt_tokens=%d completion_tokens=%d "
            "first_token_s=%.3f total_s=%.3f preemptions=%d",
            event.request,
            event.finish,
            event.prompt_tokens,
            event.completion_tokens,
            event.first_token_s,
            event.total_s,
            event.preemptions,
        )

    def _cancel(self, request: Request) -> None:
        self._requests.pop(request.asked.request, None)
        self._fleet.finish(request.sequence, m.Finish.CANCELLED)
        self._outcomes.cancelled += 1
        log.info("event=cancelled request=%s", request.asked.request)

    def _refuse_lost(self, now: float) -> None:
        """End what is not tried again, and keep nobody waiting for rings that are given up."""
        reason = self._fleet.reason or "it came back with a shorter context; ask again"
        problem = Unavailable(f"the ring stopped: {reason}", RETRY_AFTER_S)
        if self._fleet.is_given_up(now):
            for name, early in list(self._asked.items()):
                self._router.send(early.peer, refusal(name, problem))
                self._drop(name)
        for request in list(self._requests.values()):
            if request.sequence.problem is not None:
                poison = PoisonRequest(request.sequence.problem)
                log.error("event=poison request=%s reason=%r", request.asked.request, str(poison))
                self._end(request, refusal(request.asked.request, poison))
                continue
            if not self._fleet.is_lost(request.sequence, now):
                continue
            self._fleet.finish(request.sequence, m.Finish.CANCELLED)
            self._end(request, refusal(request.asked.request, problem))

    def _progress(self, request: Request) -> m.Progress:
        sequence = request.sequence
        place = self._fleet.queue_position(sequence)
        # After a preemption its reply is prefilled too: the prompt is read, and no more than that
        num_read = min(sequence.num_prefilled, sequence.num_prompt_tokens)
        return m.Progress(request.asked.request, place, num_read, sequence.num_prompt_tokens)

"""The client conversation: requests from the question over the tokenizer to the last event.

Tokens become text here, one request at a time; which steps they take is the scheduler's business.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from bramble.errors import BadFrame, BadInput, BrambleError, PoisonRequest, Unavailable
from bramble.head.fleet import Fleet
from bramble.head.outcomes import Outcomes
from bramble.head.preparer import Preparer
from bramble.head.request import Request, open_request
from bramble.head.step_plan import Emission
from bramble.model.manifest import Manifest
from bramble.model.tokenizer import Tokenizer
from bramble.wire import messages as m
from bramble.wire.transport import Router

log = logging.getLogger(__name__)

BEAT_S = 1.0
RETRY_AFTER_S = 10


@dataclass(frozen=True, slots=True)
class Model:
    """What a request is opened with."""

    manifest: Manifest
    export: str  # sha256 of the manifest
    tokenizer: Tokenizer


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request on its way through the tokenizer."""

    peer: bytes
    message: m.Generate
    at: float  # when it came


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
        self._preparer: Preparer[Request | m.Refused] = Preparer()
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
        for request in list(self._requests.values()):
            if request.first_token_at is None and not request.asked.generated:
                self._cancel(request)
                self._asked[request.asked.request] = _Asked(
                    request.peer, request.asked, request.arrived_at
                )

    def hold(self) -> None:
        """Once a second, while leaving: keep those who are held from giving up."""
        if self._is_leaving:
            for name, held in self._asked.items():
                self._router.send(held.peer, m.Progress(name, 0, 0, 0))

    # ------------------------------------------------------------------------------- from clients

    def read(self, now: float) -> None:
        """Handle all that has arrived from clients and from the tokenizer."""
        while (received := self._router.receive()) is not None:
            peer, message = received
            match message:
                case m.Generate():
                    self._generate(peer, message, now)
                case m.Cancel(request=name):
                    self._asked.pop(name, None)
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
            self._router.send(peer, _refusal(asked.request, problem))
            return
        if asked.generated and asked.export not in ("", self._model.export):
            problem = Unavailable("the model was changed during this reply; ask again", 1)
            self._router.send(peer, _refusal(asked.request, problem))
            return
        before = self._asked.get(asked.request)  # asked again, while it waits for the first plan
        held = _Asked(peer, asked, before.at if before is not None else now)
        self._asked[asked.request] = held
        if self._is_open and self._fleet.max_length is not None and not self._is_leaving:
            self._submit(held, self._fleet.max_length)

    def _submit(self, asked: _Asked, max_length: int) -> None:
        self._preparer.submit(lambda: self._prepare(asked, max_length))

    def _prepare(self, asked: _Asked, max_length: int) -> Request | m.Refused:
        """Runs in the preparer's thread; touches nothing that changes."""
        tokenizer, manifest = self._model.tokenizer, self._model.manifest
        try:
            return open_request(
                asked.peer, asked.message, tokenizer, manifest, max_length, asked.at
            )
        except BadInput as error:
            return _refusal(asked.message.request, error)
        except BaseException as error:  # noqa: BLE001  others' parsers of anybody's text; a panic
            # of Rust is no Exception. Its words may hold some of the text: they are not told.
            name, kind = asked.message.request, type(error).__name__
            log.error("event=prepare_failed request=%s kind=%s", name, kind)
            problem = PoisonRequest(
                f"the tokenizer or the chat template failed over this request ({kind}); other "
                "requests go on; do not send it again as it is"
            )
            return _refusal(name, problem)

    def _read_prepared(self, now: float) -> None:
        while (prepared := self._preparer.take()) is not None:
            if isinstance(prepared, Request):
                self._enqueue(prepared, now)
            elif (asked := self._asked.pop(prepared.request, None)) is not None:
                self._router.send(asked.peer, prepared)

    def _enqueue(self, request: Request, now: float) -> None:
        asked = self._asked.get(request.asked.request)
        if asked is None or asked.message is not request.asked or self._is_leaving:
            return  # cancelled, asked again or for the next head, while it was being tokenized
        del self._asked[request.asked.request]
        try:
            if request.sequence.finish is None:
                self._fleet.add(request.sequence)
        except Unavailable as error:
            self._router.send(request.peer, _refusal(request.asked.request, error))
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
        """Tell those who got nothing for a second how far they are; refuse where none can be."""
        self._refuse_lost(now)
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
            for name, early in self._asked.items():
                self._router.send(early.peer, _refusal(name, problem))
            self._asked.clear()
        for request in list(self._requests.values()):
            if request.sequence.problem is not None:
                poison = PoisonRequest(request.sequence.problem)
                log.error("event=poison request=%s reason=%r", request.asked.request, str(poison))
                self._end(request, _refusal(request.asked.request, poison))
                continue
            if not self._fleet.is_lost(request.sequence, now):
                continue
            self._fleet.finish(request.sequence, m.Finish.CANCELLED)
            self._end(request, _refusal(request.asked.request, problem))

    def _progress(self, request: Request) -> m.Progress:
        sequence = request.sequence
        place = self._fleet.queue_position(sequence)
        # After a preemption its reply is prefilled too: the prompt is read, and no more than that
        num_read = min(sequence.num_prefilled, sequence.num_prompt_tokens)
        return m.Progress(request.asked.request, place, num_read, sequence.num_prompt_tokens)


def _refusal(request: str, error: BrambleError) -> m.Refused:
    return m.Refused(
        request=request,
        family=type(error).__name__,
        message=str(error),
        param=error.param if isinstance(error, BadInput) else None,
        code=error.code if isinstance(error, BadInput) else None,
        retry_after_s=error.retry_after_s if isinstance(error, Unavailable) else None,
    )

"""The client conversation: requests from the question over the tokenizer to the last event.

Who reads a reply is the audiences' business, and which steps its tokens take the scheduler's.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from bramble import __version__
from bramble.errors import (
    BadFrame,
    BrambleError,
    QueueFull,
    ReplyNotFound,
    Unavailable,
)
from bramble.head.audiences import Audiences
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

    @property
    def mark(self) -> str:
        """What a reply's tokens depend on beside the request."""
        return hashlib.sha256(f"{self.export} {__version__}".encode()).hexdigest()[:12]


@dataclass(slots=True, eq=False)
class _Asked:
    """A request on its way through the tokenizer."""

    message: m.Generate
    num_bytes: int  # of text, about
    at: float  # when it came
    heard_at: float  # when its readers were last told that it waits
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
        self._audiences = Audiences(router.send)
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
        for name, request in list(self._requests.items()):
            if request.first_token_at is None and not request.asked.generated:
                del self._requests[name]
                self._fleet.finish(request.sequence, m.Finish.CANCELLED)
                # Of no length, as it is not tokenized here again
                self._asked[name] = _Asked(request.asked, 0, request.arrived_at, request.heard_at)

    # ------------------------------------------------------------------------------- from clients

    def read(self, now: float) -> None:
        """Handle all that has arrived from clients and from the tokenizer."""
        while (received := self._router.receive()) is not None:
            peer, message = received
            match message:
                case m.Generate():
                    self._generate(peer, message, now)
                case m.Resume():
                    self._join(peer, message)
                case m.Cancel(request=name, is_for_all=True):
                    self._end_for_all(peer, name)
                case m.Cancel(request=name):
                    if self._audiences.leave(peer, name):
                        self._cancel(name)
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
        newest = float("inf")
        early = sorted(self._asked.values(), key=lambda a: a.message.accepted_at_us or newest)
        for asked in early:  # who was accepted before comes before newcomers
            self._submit(asked, self._fleet.max_length)

    def _generate(self, peer: bytes, asked: m.Generate, now: float) -> None:
        problem = None
        if asked.generated and asked.export not in ("", self._model.export):
            problem = Unavailable("the model was changed during this reply; ask again", 1)
        elif self._join(peer, asked):
            return
        elif self._is_given_up(asked, now):
            problem = Unavailable(f"no ring serves: {self._fleet.reason}", RETRY_AFTER_S)
        if problem is not None:
            self._router.send(peer, refusal(asked.request, problem))
            return
        held = _Asked(asked, text_bytes(asked), now, now)
        full = self._lack_of_room(held)
        if full is not None and not asked.export:  # what was accepted once is never refused so
            self._router.send(peer, refusal(asked.request, full))
            return
        self._audiences.open(peer, asked)
        self._asked[asked.request] = held
        if self._is_open and self._fleet.max_length is not None and not self._is_leaving:
            self._submit(held, self._fleet.max_length)

    def _is_given_up(self, asked: m.Generate, now: float) -> bool:
        """True if it should not wait. What was accepted once waits for a ring that has failed."""
        fleet = self._fleet
        return fleet.is_down_for_long(now) if asked.export else fleet.is_given_up(now)

    def _lack_of_room(self, asked: _Asked) -> QueueFull | None:
        """What is wrong with one more request, if too much text waits already."""
        waiting = sum(each.num_bytes for each in self._asked.values())
        if not waiting or waiting + asked.num_bytes <= MAX_WAITING_BYTES:
            return None
        return QueueFull(
            f"{waiting >> 20} MiB of prompts wait for the tokenizer, at most "
            f"{MAX_WAITING_BYTES >> 20} may; try again in a moment"
        )

    def _join(self, peer: bytes, asked: m.Generate | m.Resume) -> bool:
        """True if the request is known: its reader is told of it, or why it cannot be."""
        if self._audiences.must_begin_anew(asked):
            self._cancel(asked.request)
            return False
        try:
            return self._audiences.join(peer, asked)
        except BrambleError as problem:
            if isinstance(problem, ReplyNotFound):
                problem = self._elsewhere() or problem
            self._router.send(peer, refusal(asked.request, problem))
            return True

    def _end_for_all(self, peer: bytes, name: str) -> None:
        if not (was_known := self._cancel(name)) and (problem := self._elsewhere()) is not None:
            self._router.send(peer, refusal(name, problem))
            return
        self._router.send(peer, m.Cancelled(name, was_known))

    def _elsewhere(self) -> Unavailable | None:
        """Say who may know a reply that this head does not; None if it has the role."""
        other = self._fleet.standing_by
        return None if other is None else Unavailable(f"no ring serves: {other}", RETRY_AFTER_S)

    def _submit(self, asked: _Asked, max_length: int) -> None:
        tokenizer, manifest = self._model.tokenizer, self._model.manifest

        def run() -> _Prepared:
            return asked, prepare(asked.message, tokenizer, manifest, max_length, asked.at)

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
                continue  # cancelled, asked anew or for the next head, while it was tokenized
            del self._asked[name]
            if isinstance(outcome, Request):
                self._enqueue(name, outcome, now)
            else:
                self._audiences.end(name, outcome, now)

    def _enqueue(self, name: str, request: Request, now: float) -> None:
        try:
            if request.sequence.finish is None:
                self._fleet.add(request.sequence)
        except Unavailable as error:
            self._audiences.end(name, refusal(name, error), now)
            return
        self._requests[name] = request
        accepted = m.Accepted(
            name,
            request.sequence.num_prompt_tokens,
            self._model.export,
            request.sequence.arrival,
            self._model.manifest.name,
            self._model.mark,
            reply_format=self._model.tokenizer.reply_format,
        )
        request.heard_at = now
        self._audiences[name].accept(accepted, request.record)
        if request.sequence.finish is not None:
            self._end(request, request.done(now), now)
        if request.asked.max_tokens == 0:  # nobody comes back for a count
            self._audiences.drop(name)

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
        request.add(emission, sampled)
        if request.has_met_stop:
            self._fleet.stop(request.sequence, emission.num_tokens)
        request.heard_at = now
        self._audiences[request.asked.request].advance()
        is_over = request.sequence.finish is not None and request.sequence.problem is None
        if is_over and emission.is_newest:
            self._end(request, request.done(now), now)

    def tick(self, now: float) -> None:
        """Tell those who got nothing for a second how far they are; end what nobody waits for."""
        self._refuse_lost(now)
        for name, asked in self._asked.items():
            if now - asked.heard_at >= BEAT_S:
                asked.heard_at = now
                self._audiences.tell(name, m.Progress(name, 0, 0, 0))
        for name, request in self._requests.items():
            if now - request.heard_at >= BEAT_S:
                request.heard_at = now
                self._audiences.tell(name, self._progress(request))
        for name in self._audiences.tick(now):
            self._cancel(name)

    def _end(self, request: Request, event: m.Done | m.Refused, now: float) -> None:
        del self._requests[request.asked.request]
        self._audiences.end(request.asked.request, event, now)
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

    def _cancel(self, name: str) -> bool:
        """End a request for all who read it, and forget it. False if there is none."""
        request = self._requests.pop(name, None)
        is_held = self._drop(name) is not None
        if request is not None or is_held:
            self._audiences.tell(name, m.Done(name, m.Finish.CANCELLED, 0, 0, 0.0, 0.0, 0.0))
            self._outcomes.cancelled += 1
            log.info("event=cancelled request=%s", name)
        if request is not None:
            self._fleet.finish(request.sequence, m.Finish.CANCELLED)
        return self._audiences.drop(name)

    def _refuse_lost(self, now: float) -> None:
        """End what is not tried again, and keep nobody waiting for rings that are given up."""
        reason = self._fleet.reason or "it came back with a shorter context; ask again"
        problem = Unavailable(f"the ring stopped: {reason}", RETRY_AFTER_S)
        for name, asked in list(self._asked.items()):
            if self._is_given_up(asked.message, now):
                self._drop(name)
                self._audiences.end(name, refusal(name, problem), now)
        for name, request in list(self._requests.items()):
            if (why := request.sequence.problem) is not None:
                log.error("event=poison request=%s reason=%r", name, str(why))
                self._end(request, refusal(name, why), now)
            elif self._fleet.is_lost(request.sequence, now):
                self._fleet.finish(request.sequence, m.Finish.CANCELLED)
                self._end(request, refusal(name, problem), now)

    def _progress(self, request: Request) -> m.Progress:
        sequence = request.sequence
        place = self._fleet.queue_position(sequence)
        # After a preemption its reply is prefilled too: the prompt is read, and no more than that
        num_read = min(sequence.num_prefilled, sequence.num_prompt_tokens)
        return m.Progress(request.asked.request, place, num_read, sequence.num_prompt_tokens)

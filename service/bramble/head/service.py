"""The head's service loop: sockets to registry, ring, scheduler and requests, and back.

One thread, one poll. A step's answer first frees its lane and sends what can follow; only then do
its tokens become text, so that the ring never waits for Python's strings.
"""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import bramble
from bramble.config import HeadConfig
from bramble.errors import BadFrame, BadInput, BrambleError, Broken, QueueFull, Unavailable
from bramble.head import status
from bramble.head.preparer import Preparer
from bramble.head.registry import Registry, StageEntry
from bramble.head.request import Request, open_request
from bramble.head.ring import Ring, Settings, State
from bramble.head.scheduler import Emission, Limits, Scheduler
from bramble.head.speed import Speed
from bramble.model import manifest as manifests
from bramble.model.tokenizer import Tokenizer
from bramble.observe.notify import Notifier
from bramble.wire import messages as m
from bramble.wire.transport import Channel, Poll, Transport, new_identity

log = logging.getLogger(__name__)

TICK_S = 0.25
BEAT_S = 1.0
MAX_FIRST_EPOCH = 1 << 31  # leaves as many of the wire's u32 to rise through
GIVE_UP_S = 60.0  # a ring that is down for longer keeps nobody waiting
LEAVE_S = 60.0  # for replies under way at the end, which another model could not go on with
RETRY_AFTER_S = 10
DEFAULT_MAX_LENGTH = 8192  # tokens; a longer context is asked for, as each row may take it


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request on its way through the tokenizer."""

    peer: bytes
    message: m.Generate


class Service:
    def __init__(
        self, config: HeadConfig, transport: Transport, notifier: Notifier | None = None
    ) -> None:
        _check(config)
        self._notifier = notifier or Notifier(None)
        self._config = config
        self._transport = transport
        self._incarnation = new_identity()
        manifest = manifests.read(config.model)
        self._manifest = manifest
        self._export = manifests.sha256(config.model)
        self._tokenizer = Tokenizer(config.model)
        self._control = transport.router(config.control)
        self._client = transport.router(config.client)
        self._sampled = transport.pull(config.sampled)
        self._first: Channel | None = None
        self._registry = Registry(config.stages)
        wanted_length = config.max_length or min(manifest.shape.max_length, DEFAULT_MAX_LENGTH)
        settings = Settings(config.max_rows, wanted_length, self._sampled.endpoint, config.node)
        self._ring = Ring(
            manifest,
            self._export,
            self._registry,
            settings,
            self._incarnation % MAX_FIRST_EPOCH,
            self._connect_first,
            self._assign,
        )
        self._scheduler = Scheduler(
            Limits(len(config.stages), config.max_rows, 0, config.prefill_tokens, config.max_queue)
        )
        self._preparer: Preparer[Request | m.Refused] = Preparer()
        self._asked: dict[str, _Asked] = {}
        self._is_sized = False  # by the first plan; requests that come before wait for it
        self._requests: dict[str, Request] = {}
        self._speed = Speed()
        self._outcomes: Counter[str] = Counter()
        self._since = time.monotonic()
        self._served_at = self._since
        self._ticked_at = 0.0
        self._collected_at = 0.0
        self._is_leaving = False
        Path(config.client.removeprefix("ipc://")).chmod(0o660)

    @property
    def control_endpoint(self) -> str:
        return self._control.endpoint

    def leave(self) -> None:
        """Have `run` end once the replies under way have; safe to call from a signal handler."""
        self._is_leaving = True

    def run(self) -> None:
        """Serve until interrupted, or told to leave."""
        log.info("event=start model=%s stages=%d", self._manifest.name, len(self._registry.stages))
        poll = Poll([self._sampled, self._control, self._client])
        poll.add(self._preparer.bell)
        self._notifier.ready()
        gc.collect()
        gc.freeze()  # what lives now lives on; the rest is collected once a second
        gc.disable()
        try:
            while not self._is_leaving:
                poll.wait(TICK_S)
                self.turn(time.monotonic())
            self._finish(poll, time.monotonic() + LEAVE_S)
        finally:
            self._preparer.close()

    def _finish(self, poll: Poll, deadline: float) -> None:
        """End the replies under way. Who has no token yet is held, and asks the next head."""
        log.info("event=leaving replies=%d", len(self._requests))
        for request in list(self._requests.values()):
            if request.first_token_at is None and not request.asked.generated:
                self._cancel(request)
                self._asked[request.asked.request] = _Asked(request.peer, request.asked)
        while self._requests and self._ring.state is State.SERVING:
            poll.wait(TICK_S)
            self.turn(now := time.monotonic())
            if now > deadline:
                break
        self._client.close()

    def turn(self, now: float) -> None:
        """Handle all that has arrived, then send all that can be sent."""
        self._read_sampled(now)
        self._read_control(now)
        self._read_client(now)
        self._read_prepared(now)
        self._pump(now)
        if now - self._ticked_at >= TICK_S:
            self._ticked_at = now
            self._tick(now)

    # ------------------------------------------------------------------------------------- ring

    def _read_sampled(self, now: float) -> None:
        while True:
            try:
                sampled = self._sampled.receive()
            except BadFrame as error:
                self._count_bad_frame(error)
                continue
            if sampled is None:
                return
            if isinstance(sampled, m.Sampled) and self._ring.accept(sampled, now):
                self._take_in(sampled, now)

    def _take_in(self, sampled: m.Sampled, now: float) -> None:
        plan = self._scheduler.under_way(sampled.step)
        emissions = self._scheduler.complete(sampled.step, sampled.token_ids.tolist())
        self._pump(now)
        if plan is not None:
            is_decode = plan.kind is m.StepKind.DECODE
            num_tokens = sum(map(len, plan.token_ids))
            self._speed.count(now, len(emissions), 0 if is_decode else num_tokens)
            if is_decode:
                self._speed.trace(sampled.traces)
        for emission in emissions:
            self._emit(emission, sampled, now)

    def _pump(self, now: float) -> None:
        if self._ring.state is not State.SERVING:
            return
        try:
            for plan in self._scheduler.schedule():
                self._note_start(plan.sequences[0].request, now)
                self._ring.send(plan, now)
        except Broken as error:
            log.warning("event=send_failed reason=%r", str(error))
            self._restart(now)

    def _note_start(self, name: str, now: float) -> None:
        request = self._requests.get(name)
        if request is not None and request.started_at is None:
            request.started_at = now

    def _emit(self, emission: Emission, sampled: m.Sampled, now: float) -> None:
        request = self._requests.get(emission.sequence.request)
        if request is None:
            return
        if request.first_token_at is None:
            request.first_token_at = now
        delta = request.delta(emission.token_id, sampled, emission.index)
        if request.has_met_stop:
            self._scheduler.finish(request.sequence, m.Finish.STOP)
        if not self._tell(request, delta, now):
            self._cancel(request)
        elif request.sequence.finish is not None:
            self._end(request, request.done(now))

    def _restart(self, now: float) -> None:
        """Begin a new epoch: what was under way is prefilled again from its token ids."""
        self._scheduler.reset()
        self._ring.activate(now)

    def _connect_first(self, endpoint: str, node: str) -> Channel:
        if self._first is not None:
            self._first.close()
        self._first = self._transport.push(endpoint, node)
        return self._first

    # ---------------------------------------------------------------------------------- control

    def _read_control(self, now: float) -> None:
        while (received := self._control.receive()) is not None:
            peer, message = received
            match message:
                case m.Hello():
                    self._hello(peer, message, now)
                case m.Beat():
                    # Answered even if unknown: our incarnation tells a stage to say hello again.
                    self._registry.beat(peer, message, now)
                    self._control.send(peer, m.Beat("head", self._incarnation))
                case m.Ready():
                    if self._registry.ready(message, now) and self._registry.is_ready:
                        self._begin(now)
                case m.Failed():
                    if self._registry.failed(message, now):
                        self._ring.fail("a stage cannot load its shard", now)
                case BadFrame():
                    self._count_bad_frame(message)
                case _:
                    log.warning("event=unexpected conversation=control kind=%s", type(message))

    def _hello(self, peer: bytes, hello: m.Hello, now: float) -> None:
        if not self._registry.knows(hello.node):
            log.warning("event=unknown_node node=%s", hello.node)
            return
        self._control.send(peer, m.Beat("head", self._incarnation))
        if hello.version != bramble.__version__:
            log.warning("event=version_differs node=%s version=%s", hello.node, hello.version)
        if self._registry.hello(peer, hello, now):
            log.info("event=hello node=%s endpoint=%s", hello.node, hello.endpoint)
            self._restart(now)

    def _begin(self, now: float) -> None:
        """All stages are ready: size the scheduler by the plan and replay the golden check."""
        plan = self._ring.plan
        assert plan is not None
        is_first, self._is_sized = not self._is_sized, True
        self._scheduler.reset(
            Limits(
                len(plan.stages),
                plan.rows,
                plan.budget_tokens,
                self._config.prefill_tokens,
                self._config.max_queue,
            )
        )
        if is_first:
            for early in self._asked.values():
                self._submit(early.peer, early.message, plan.max_length, now)
        self._ring.check(now)

    def _assign(self, entry: StageEntry, assign: m.Assign) -> None:
        self._control.send(entry.peer, assign)

    # ----------------------------------------------------------------------------------- client

    def _read_client(self, now: float) -> None:
        while (received := self._client.receive()) is not None:
            peer, message = received
            match message:
                case m.Generate():
                    self._generate(peer, message, now)
                case m.Cancel(request=name):
                    self._asked.pop(name, None)
                    if (request := self._requests.get(name)) is not None:
                        self._cancel(request)
                case m.Query(request=name):
                    self._client.send(peer, m.Status(name, self._status(now)))
                case BadFrame():
                    self._count_bad_frame(message)
                case _:
                    log.warning("event=unexpected conversation=client kind=%s", type(message))

    def _generate(self, peer: bytes, asked: m.Generate, now: float) -> None:
        if (earlier := self._requests.get(asked.request)) is not None:
            self._cancel(earlier)  # the same client again: it did not hear our answer
        if self._is_given_up(now):
            problem = Unavailable(f"no ring serves: {self._ring.reason}", RETRY_AFTER_S)
            self._client.send(peer, _refusal(asked.request, problem))
            return
        if asked.generated and asked.export not in ("", self._export):
            problem = Unavailable("the model was changed during this reply; ask again", 1)
            self._client.send(peer, _refusal(asked.request, problem))
            return
        self._asked[asked.request] = _Asked(peer, asked)
        if self._is_sized and self._ring.plan is not None and not self._is_leaving:
            self._submit(peer, asked, self._ring.plan.max_length, now)

    def _submit(self, peer: bytes, asked: m.Generate, max_length: int, now: float) -> None:
        self._preparer.submit(lambda: self._prepare(peer, asked, max_length, now))

    def _prepare(
        self, peer: bytes, asked: m.Generate, max_length: int, now: float
    ) -> Request | m.Refused:
        """Runs in the preparer's thread; touches nothing that changes."""
        try:
            return open_request(peer, asked, self._tokenizer, self._manifest, max_length, now)
        except BadInput as error:
            return _refusal(asked.request, error)

    def _read_prepared(self, now: float) -> None:
        while (prepared := self._preparer.take()) is not None:
            if isinstance(prepared, Request):
                self._enqueue(prepared, now)
            elif (asked := self._asked.pop(prepared.request, None)) is not None:
                self._client.send(asked.peer, prepared)

    def _enqueue(self, request: Request, now: float) -> None:
        asked = self._asked.get(request.asked.request)
        if asked is None or asked.message is not request.asked or self._is_leaving:
            return  # cancelled, asked again or for the next head, while it was being tokenized
        del self._asked[request.asked.request]
        try:
            self._scheduler.add(request.sequence)
        except QueueFull as error:
            self._client.send(request.peer, _refusal(request.asked.request, error))
            return
        self._requests[request.asked.request] = request
        num_tokens = request.sequence.num_prompt_tokens
        accepted = m.Accepted(request.asked.request, num_tokens, self._export)
        if not self._tell(request, accepted, now):
            self._cancel(request)

    def _tell(self, request: Request, event: m.ClientMessage, now: float) -> bool:
        request.heard_at = now
        return self._client.send(request.peer, event)

    def _end(self, request: Request, event: m.Done | m.Refused) -> None:
        del self._requests[request.asked.request]
        self._client.send(request.peer, event)
        if isinstance(event, m.Refused):
            self._outcomes["failed"] += 1
            return
        self._outcomes["completed"] += 1
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
        self._scheduler.finish(request.sequence, m.Finish.CANCELLED)
        self._outcomes["cancelled"] += 1
        log.info("event=cancelled request=%s", request.asked.request)

    def _status(self, now: float) -> dict[str, object]:
        return status.document(
            self._ring, self._scheduler, self._speed, self._outcomes, now, self._since
        )

    # ------------------------------------------------------------------------------------- time

    def _is_given_up(self, now: float) -> bool:
        """True if nobody should wait for the ring: it has failed, or is down for long."""
        return self._ring.state is State.FAILED or now - self._served_at > GIVE_UP_S

    def _tick(self, now: float) -> None:
        if self._ring.state is State.SERVING:
            self._served_at = now
        elif self._is_given_up(now):
            self._refuse_all()
        if now - self._collected_at >= BEAT_S:
            self._collected_at = now
            gc.collect()
            self._notifier.alive()
            self._notifier.status(status.sentence(self._ring, self._scheduler, self._speed, now))
            if self._is_leaving:
                for name, held in self._asked.items():
                    self._client.send(held.peer, m.Progress(name, 0, 0, 0))
        for request in list(self._requests.values()):
            if now - request.heard_at >= BEAT_S and not self._tell(
                request, self._progress(request), now
            ):
                self._cancel(request)
        lost = self._registry.lose_silent(now)
        for entry in lost:
            log.warning("event=stage_lost node=%s", entry.node)
        if lost or self._ring.has_lost_step(now) or self._ring.is_due(now):
            self._restart(now)

    def _refuse_all(self) -> None:
        problem = Unavailable(f"the ring stopped: {self._ring.reason}", RETRY_AFTER_S)
        for name, early in self._asked.items():
            self._client.send(early.peer, _refusal(name, problem))
        self._asked.clear()
        for request in list(self._requests.values()):
            self._scheduler.finish(request.sequence, m.Finish.CANCELLED)
            self._end(request, _refusal(request.asked.request, problem))

    def _progress(self, request: Request) -> m.Progress:
        sequence, waiting = request.sequence, self._scheduler.waiting
        place = waiting.index(sequence) + 1 if sequence in waiting else 0
        return m.Progress(
            request.asked.request, place, sequence.num_prefilled, sequence.num_prompt_tokens
        )

    def _count_bad_frame(self, error: BadFrame) -> None:
        self._outcomes["bad_frames"] += 1
        log.warning("event=bad_frame reason=%r", str(error))


def _check(config: HeadConfig) -> None:
    if config.prefill_tokens < 3:  # so that no chunk needs to be a single token
        raise BadInput(f"prefill_tokens is {config.prefill_tokens}, it has to be 3 or more")
    if config.max_rows < 1 or config.max_queue < 1 or config.max_length < 0:
        raise BadInput("max_rows and max_queue have to be 1 or more, max_length 0 or more")
    if len(set(config.stages)) != len(config.stages) or not config.stages:
        raise BadInput(f"stages are {', '.join(config.stages)}: name each node of the ring once")


def _refusal(request: str, error: BrambleError) -> m.Refused:
    return m.Refused(
        request=request,
        family=type(error).__name__,
        message=str(error),
        param=error.param if isinstance(error, BadInput) else None,
        code=error.code if isinstance(error, BadInput) else None,
        retry_after_s=error.retry_after_s if isinstance(error, Unavailable) else None,
    )

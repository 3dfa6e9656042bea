"""The head's service loop: sockets to desk, control and ring, and back.

One thread, one poll. A step's answer first frees its lane and sends what can follow; only then do
its tokens become text, so that the ring never waits for Python's strings.
"""

from __future__ import annotations

import gc
import logging
import time
from collections import Counter
from functools import partial
from pathlib import Path

from bramble.config import MEMBER_SIGN, HeadConfig
from bramble.errors import BadFrame, BadInput
from bramble.head import control, status
from bramble.head.arrivals import Arrivals
from bramble.head.candidacy import Candidacy
from bramble.head.control import Control
from bramble.head.desk import Desk, Model
from bramble.head.fleet import Fleet
from bramble.head.outcomes import Outcomes
from bramble.head.registry import Registry
from bramble.head.ring import Ring, Settings
from bramble.head.served_ring import ServedRing
from bramble.model import manifest as manifests
from bramble.model.tokenizer import Tokenizer
from bramble.observe.notify import Notifier
from bramble.plan import cache_kind
from bramble.plan.planner import check_context
from bramble.plan.rings import CAPACITY, OBJECTIVES
from bramble.wire import messages as m
from bramble.wire.fan import Fan, to_all
from bramble.wire.frames import MAX_ROWS
from bramble.wire.terms import Kept, Vow
from bramble.wire.transport import (
    MAX_ANSWER_BYTES,
    MAX_STEP_BYTES,
    Channel,
    Poll,
    Transport,
    new_identity,
)

log = logging.getLogger(__name__)

TICK_S = 0.25
BEAT_S = 1.0
MAX_FIRST_EPOCH = 1 << 31  # leaves as many of the wire's u32 to rise through
LEAVE_S = 60.0  # for replies under way at the end, which another model could not go on with
DEFAULT_MAX_LENGTH = 8192  # tokens; a longer context is asked for, as each row may take it


class Service:
    def __init__(
        self, config: HeadConfig, transport: Transport, notifier: Notifier | None = None
    ) -> None:
        _check(config)
        self._config = config
        self._kept = Kept(config.term)
        self._notifier = notifier or Notifier(None)
        self._transport = transport
        manifest = manifests.read(config.model)
        manifests.verify_texts(config.model, manifest)
        cache_kind.check(manifest, config.kv_cache)
        _check_steps(config, manifest.shape.hidden_size)
        model = Model(manifest, manifests.sha256(config.model), Tokenizer(config.model))
        self._model = model
        self._control_socket = transport.router(config.control)
        self._client_socket = transport.router(config.client)
        self._sampled = transport.pull(config.sampled, MAX_ANSWER_BYTES)
        self._outcomes = Outcomes()
        incarnation = new_identity()
        self._since = time.monotonic()
        wanted_length = config.max_length or min(manifest.shape.max_length, DEFAULT_MAX_LENGTH)
        check_context(manifest, wanted_length)
        settings = Settings(
            config.max_rows,
            wanted_length,
            self._sampled.endpoint,
            config.node,
            config.kv_cache,
            config.exchange,
            for_cache=config.objective == CAPACITY,
        )
        arrivals = Arrivals()
        rings = []
        for groups in config.groups_of_rings:
            ring = Ring(
                manifest,
                model.export,
                Registry(groups),
                settings,
                incarnation % MAX_FIRST_EPOCH,
                _FirstHop(transport).connect,
                partial(control.assign, self._control_socket),
            )
            rings.append(ServedRing(ring, config, arrivals, self._note_start, self._since))
        self._fleet = Fleet(rings, config.max_queue)
        self._role = self._stand(incarnation)
        self._control = Control(
            self._control_socket, self._fleet, incarnation, self._outcomes, self._role, self._keep
        )
        self._desk = Desk(self._client_socket, model, self._fleet, self._outcomes, self._status)
        self._ticked_at = 0.0
        self._collected_at = 0.0
        self._is_leaving = False
        Path(config.client.removeprefix("ipc://")).chmod(0o660)

    def _stand(self, incarnation: int) -> Candidacy:
        """Stand for the role: alone, or beside the heads of other nodes."""
        config = self._config
        last = self._kept.read().term
        return Candidacy(config.node, incarnation, config.heads, config.nodes, self._since, last)

    def _keep(self, term: int) -> None:
        """Have the term outlive this process; stages remember it too, and theirs decides."""
        try:
            self._kept.write(Vow(term, self._config.node))
        except OSError as error:
            log.error("event=term_not_kept reason=%r now='stages remember it'", str(error))

    @property
    def control_endpoint(self) -> str:
        return self._control_socket.endpoint

    def leave(self) -> None:
        """Have `run` end once the replies under way have; safe to call from a signal handler."""
        self._is_leaving = True

    def run(self) -> None:
        """Serve until interrupted, or told to leave."""
        stages = [served.ring.registry.num_stages for served in self._fleet.rings]
        log.info("event=start model=%s stages=%s", self._model.manifest.name, stages)
        poll = Poll([self._sampled, self._control_socket, self._client_socket])
        poll.add(self._desk.bell)
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
            self.close()

    def close(self) -> None:
        self._desk.close()

    def _finish(self, poll: Poll, deadline: float) -> None:
        """End the replies under way; the rest asks the next head."""
        self._desk.leave()
        while self._desk.has_replies and self._fleet.is_serving:
            poll.wait(TICK_S)
            self.turn(now := time.monotonic())
            if now > deadline:
                break
        self._client_socket.close()
        self._control.hand_over(time.monotonic())
        self._control_socket.close()

    def turn(self, now: float) -> None:
        """Handle all that has arrived, then send all that can be sent."""
        if not self._role.is_alone:
            self._control.follow(now)
        self._read_sampled(now)
        self._control.read(now)
        self._desk.read(now)
        self._fleet.pump(now)
        if now - self._ticked_at >= TICK_S:
            self._ticked_at = now
            self._tick(now)

    def _read_sampled(self, now: float) -> None:
        while True:
            try:
                sampled = self._sampled.receive()
            except BadFrame as error:
                self._outcomes.bad_frame(error)
                continue
            if sampled is None:
                return
            if not isinstance(sampled, m.Sampled):
                continue
            whose = self._fleet.of_plan(sampled.plan_id)
            if whose is not None and not self._sampled.is_from(whose.ring.last_node):
                self._outcomes.impostor(whose.ring.last_node, "Sampled")
            elif (served := self._fleet.accept(sampled, now)) is not None:
                for emission in served.take_in(sampled, now):
                    self._desk.emit(emission, sampled, now)

    def _tick(self, now: float) -> None:
        if now - self._collected_at >= BEAT_S:
            self._collected_at = now
            gc.collect()
            self._notifier.alive()
            self._notifier.status(status.sentence(self._fleet, now))
        self._control.tick(now)
        self._fleet.tick(now)
        self._desk.tick(now)

    def _note_start(self, request: str, now: float) -> None:
        self._desk.note_start(request, now)

    def _status(self, now: float) -> dict[str, object]:
        restarts = self._notifier.also
        document = status.document(self._fleet, self._outcomes, now, self._since, restarts)
        document["model"]["capabilities"] = self._model.tokenizer.capabilities
        return document | {"term": self._role.term, "has_quorum": self._role.has_quorum(now)}


class _FirstHop:
    """The way to a ring's first stage, which may be another one after each restart."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._way: Channel | Fan | None = None

    def connect(self, members: tuple[m.Member, ...]) -> Channel | Fan:
        if self._way is not None:
            self._way.close()
        self._way = to_all(self._transport, members)
        return self._way


def _check_steps(config: HeadConfig, hidden_size: int) -> None:
    """Refuse steps that the next stage would not take: half of a message is left for the rest."""
    most = MAX_STEP_BYTES // 2 // (4 * hidden_size)
    if max(config.prefill_tokens, config.max_rows) > most:
        raise BadInput(
            f"prefill_tokens is {config.prefill_tokens} and max_rows {config.max_rows}: with a "
            f"hidden size of {hidden_size} a step can carry {most} tokens; choose less"
        )


def _check(config: HeadConfig) -> None:
    if config.prefill_tokens < 3:  # so that no chunk needs to be a single token
        raise BadInput(f"prefill_tokens is {config.prefill_tokens}, it has to be 3 or more")
    if config.max_rows < 1 or config.max_queue < 1 or config.max_length < 0:
        raise BadInput("max_rows and max_queue have to be 1 or more, max_length 0 or more")
    if config.max_rows > MAX_ROWS or config.max_length > manifests.MAX_LENGTH:
        raise BadInput(
            f"max_rows is {config.max_rows} and max_length {config.max_length}: at most "
            f"{MAX_ROWS} and {manifests.MAX_LENGTH} are allowed"
        )
    if config.speculation not in ("auto", "off"):
        raise BadInput(f"speculation is {config.speculation!r}, it has to be auto or off")
    if config.exchange not in m.EXCHANGE_FORMS:
        allowed = ", ".join(m.EXCHANGE_FORMS)
        raise BadInput(f"exchange is {config.exchange!r}, it has to be one of {allowed}")
    if config.objective and config.objective not in OBJECTIVES:
        allowed = ", ".join(OBJECTIVES)
        raise BadInput(f"objective is {config.objective!r}, it has to be one of {allowed}")
    if config.stages and config.rings:
        raise BadInput("stages and rings are both given: name the nodes of one ring, or of several")
    if not all(config.groups_of_rings):
        raise BadInput("a ring has no nodes: name at least one for each")
    if not all(config.nodes):
        rings = config.rings or (config.stages,)
        wrong = next(s for ring in rings for s in ring if not all(s.split(MEMBER_SIGN)))
        raise BadInput(
            f"{wrong!r} names a node without a name; need NODE, or NODE{MEMBER_SIGN}NODE where "
            "several serve a stage together"
        )
    times = Counter(config.nodes)
    twice = [node for node, count in times.items() if count > 1]
    if twice:
        raise BadInput(f"{twice[0]} is named {times[twice[0]]} times: name each node once")
    _check_heads(config)


def _check_heads(config: HeadConfig) -> None:
    if not config.heads:
        return
    if config.node not in config.heads:
        allowed = ", ".join(config.heads)
        raise BadInput(f"node is {config.node!r}, but heads are {allowed}: it has to be among them")
    if len(set(config.heads)) < len(config.heads):
        raise BadInput(f"heads are {', '.join(config.heads)}: name each node once")

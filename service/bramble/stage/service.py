"""A stage's service loop: says hello, loads the shard it is assigned, runs steps in their order.

It knows sockets and the engine's door, not tensors.
"""

from __future__ import annotations

import gc
import logging
import os
import platform
import signal
import time
from threading import Thread
from typing import Any

import bramble
from bramble.config import StageConfig
from bramble.errors import BadFrame, BadInput, BrambleError, Broken, MemberGone
from bramble.observe import sensors
from bramble.observe.notify import Notifier
from bramble.observe.repeats import Repeats
from bramble.stage import memory
from bramble.stage.ahead import Ahead
from bramble.stage.core import Core
from bramble.stage.engine import Engine, StepResult
from bramble.stage.figures import Work, sentence_of
from bramble.stage.heads import Head, Heads
from bramble.stage.holding import Holding
from bramble.stage.last_step import LastStep
from bramble.stage.membership import Membership
from bramble.stage.neighbours import Neighbours
from bramble.stage.warming import Warming, settle, started
from bramble.wire import messages as m
from bramble.wire.frames import unpack
from bramble.wire.terms import Vow
from bramble.wire.transport import Keyring, Poll, Transport, new_identity

log = logging.getLogger(__name__)

BEAT_S = 1.0
LOOK_S = 0.1  # between looks at a fetch
GONE_S = 12.0  # a member that is lost comes back, or has been silent for too long, within ten
NO_STEP = 0  # of the golden check: no request is suspected when a shard is dropped over its files


def serve(config: StageConfig, keyring: Keyring | None, notifier: Notifier) -> None:
    """Run a stage's process until it is interrupted."""
    memory.share_heap()  # before the transport has threads
    with Transport(keyring) as transport:
        service = Service(config, transport, notifier)
        signal.signal(signal.SIGTERM, service.be_stopped)
        service.run()


class Service:
    def __init__(
        self, config: StageConfig, transport: Transport, notifier: Notifier | None = None
    ) -> None:
        self._config = config
        self._notifier = notifier or Notifier(None)
        self._transport = transport
        self._incarnation = new_identity()
        self._last = LastStep(config.last_step)
        self._steps = transport.pull(config.listen)
        self._heads = Heads(config, transport, self._hello)
        self._poll = Poll([self._steps, *self._heads.channels])
        self._leader: Head | None = None  # whose assignment this stage has
        self._leader_incarnation = 0
        self._neighbours = Neighbours(transport, self._steps)
        self._membership = Membership(config.node, config.exchange, self._wait_within)
        self._ahead = Ahead(self._last, self._has_step)
        self._holding = Holding(config, self._beat_within, self._begin_load)
        self._failure = ""  # why its shard cannot be loaded, for a person
        self._repeats = Repeats()  # of one reason why it cannot be loaded
        self._gone: tuple[float, str] | None = None  # when a member was lost, and how
        self._awaited: m.Assign | None = None  # its files are on their way
        self._assigned_at = 0.0
        self._plan_id = b""
        self._last_step = -1
        self._is_over = False  # this epoch: a step failed, or another head is obeyed
        self._beat_at = self._idle_since = time.monotonic()
        self._beat_within_at = self._rested_at = 0.0
        self._warming = Warming()
        self._stats: dict[str, Any] = {}  # of the last beat
        self._work = Work()
        self._core = Core(config.lone_core if config.lone_core >= 0 else None)

    def run(self) -> None:
        """Serve until interrupted."""
        log.info("event=start node=%s listen=%s", self._config.node, self._steps.endpoint)
        self._heads.greet()
        self._notifier.ready()
        gc.disable()
        settle()
        while True:
            self.turn()

    def be_stopped(self, number: int, _: object) -> None:
        """End by a signal from a person or systemd: no step that is under way is to blame."""
        self._last.end()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def turn(self) -> None:
        """Wait, then handle what has arrived, and beat if it is time."""
        wait_s = LOOK_S if self._awaited else BEAT_S
        if self._heads.has_assigned:  # amid a step or a load
            wait_s = 0.0
        has_step, has_control = self._poll.readable(wait_s, self._steps)
        if has_control:
            self._heads.read()
        self._follow()
        if has_step:
            self._read_step()
        if self._awaited is not None and self._holding.supply.is_ready:
            self._serve(self._awaited)
        now = time.monotonic()
        if now - self._beat_at >= BEAT_S:
            self._beat(now)

    @property
    def _engine(self) -> Engine | None:
        return self._holding.engine

    @property
    def _assign(self) -> m.Assign | None:
        return self._holding.assign

    # -------------------------------------------------------------------------------- the heads

    def _hello(self, vow: Vow) -> m.Hello:
        return m.Hello(
            node=self._config.node,
            incarnation=self._incarnation,
            endpoint=self._steps.endpoint,
            version=bramble.__version__,
            memory_bytes=self._config.memory_bytes or sensors.usable_memory_bytes(),
            machine=platform.machine(),
            vow=vow,
            died_in=self._last.died_in,
            exchange=self._membership.endpoint,
        )

    def _follow(self) -> None:
        """Take what heads assign, say whom this stage obeys, and drop what another one assigned."""
        for head, assign in self._heads.take_assigns():
            self._take(head, assign)
        if self._heads.has_news:
            self._tell_alive()
        current, leader = self._awaited or self._assign, self._leader
        if current is None or current.term == 0 or leader is None:
            return
        if self._awaited is None and self._is_over:
            return
        if not self._heads.allegiance.obeys(leader.node, self._leader_incarnation):
            log.info("event=epoch_over reason='another head is obeyed'")
            self._awaited = None
            self._end_epoch()

    def _beat(self, now: float) -> None:
        gc.collect()  # here, and not by chance between two tokens
        if self._rested_at < self._idle_since < now - BEAT_S:
            self._rest()
            self._rested_at = now
        self._notifier.alive()
        self._look_after()
        self._tell_gone(now)
        span, self._beat_at = now - self._beat_at, now
        if self._heads.renew(now):
            self._poll = Poll([self._steps, *self._heads.channels])
        self._heads.greet()
        if not self._heads.is_greeted:
            self._notifier.status(f"waiting for the head at {self._heads.places}")
            return
        stats: dict[str, Any] = {
            "resident_bytes": sensors.resident_bytes(),
            "kv_used_bytes": self._engine.kv_used_bytes if self._engine else 0,
            "sequences": self._engine.num_rows if self._engine else 0,
            "threads": self._engine.threads.sentence if self._engine else None,
            "temperature_c": sensors.temperature_c(),
            "throttled": sensors.throttled(),
            "idle_s": round(now - self._idle_since, 1),  # since it ran a step
            "last_step": self._last_step,
            "epoch": self._assign.epoch if self._assign else -1,  # that it is ready for
            **self._work.drain(span),
            **self._membership.drain(),
        }
        if self._notifier.also:
            stats["restarts"] = self._notifier.also
        sentence = sentence_of(self._assign, stats, self._failure)
        if self._awaited is not None:
            sentence = stats["fetching"] = self._holding.supply.sentence
        elif damaged := self._holding.damage:
            stats["damaged"] = damaged
            sentence += f"; {damaged}"
        self._notifier.status(sentence)
        self._heads.beat(m.Beat(self._config.node, self._incarnation, stats, self._heads.vow))
        self._stats = stats

    def _rest(self) -> None:
        """Idle for a beat: give back what the last steps took, and get ready what loading left."""
        memory.trim()
        if self._samples:
            self._warming.begin()

    @property
    def _samples(self) -> bool:
        """True if it picks tokens: alone or as rank 0 of the last stage."""
        assign = self._assign
        return assign is not None and assign.share.has_lm_head and assign.rank == 0

    def _wait_for(self, thread: Thread) -> None:
        """Beat until the thread has ended."""
        while thread.is_alive():
            thread.join(BEAT_S / 2)
            self._beat_within()

    def _beat_within(self) -> None:
        """Beat amid a long step or load, and hear heads so that they stay obeyed."""
        now = time.monotonic()
        if now - max(self._beat_at, self._beat_within_at) < BEAT_S:
            return
        self._beat_within_at = now
        self._notifier.alive()
        self._heads.read()
        self._tell_alive()

    def _wait_within(self) -> None:
        """Amid an exchange: beat, and end it if a head has begun another epoch."""
        self._beat_within()
        self._heads.read()
        if self._heads.has_assigned:
            raise Broken("another epoch has begun")

    def _tell_alive(self) -> None:
        """Beat with the figures of before."""
        stats = self._stats | {"idle_s": 0.0}
        self._heads.beat(m.Beat(self._config.node, self._incarnation, stats, self._heads.vow))

    def _tell(self, message: m.ControlMessage) -> None:
        """Tell the head whose assignment this stage has."""
        if self._leader is not None:
            self._leader.tell(message)

    # --------------------------------------------------------------------------------- the shard

    def _take(self, head: Head, assign: m.Assign) -> None:
        level = logging.DEBUG if self._repeats.is_again else logging.INFO
        log.log(
            level,
            "event=assign term=%d epoch=%d layers=%d:%d",
            assign.term,
            assign.epoch,
            assign.share.start,
            assign.share.stop,
        )
        if not self._heads.accepts(head, assign):
            reason = self._heads.allegiance.refusal(head.node, assign.term)
            log.warning("event=refused_term reason=%r", reason)
            head.tell(self._failed(assign, reason))
            return
        self._leader, self._leader_incarnation = head, head.incarnation or 0
        self._assigned_at = time.monotonic()
        self._serve(assign)

    def _serve(self, assign: m.Assign) -> None:
        """Load the shard, or keep it if it is the same, and answer Ready or Failed.

        Where files are lacking they are fetched first: this is called again when they are here.
        """
        self._awaited = None
        started = time.monotonic()
        try:
            if not self._adopt(assign):
                self._awaited = assign
                return
        except (BrambleError, MemoryError) as error:
            self._drop()
            reason = str(error) or "out of memory while loading"
            if (more := self._repeats.tell(reason, time.monotonic())) is not None:
                log.error("event=load_failed reason=%r%s", reason, more)
            self._failure = f"NOT SERVING: {reason}; looks again every few seconds"
            self._heads.excuse(time.monotonic() - started)
            self._tell(self._failed(assign, reason))
            return
        self._repeats.end()
        self._failure = ""
        self._idle_since = time.monotonic()
        self._heads.excuse(self._idle_since - started)
        self._tell(
            m.Ready(
                self._config.node,
                self._incarnation,
                assign.plan_id,
                assign.epoch,
                round(self._idle_since - self._assigned_at, 3),
                sensors.resident_bytes(),
            )
        )

    def _adopt(self, assign: m.Assign) -> bool:
        """Have the engine of this assignment; False if files of it are on their way."""
        plan_id = _plan_id(assign)
        if self._engine is not None and assign == self._assign:
            self._holding.supply.stop()
            return True
        if not self._holding.take(assign, self._membership.join(assign)):
            return False
        self._neighbours.adopt(assign)
        self._ahead.clear()
        self._plan_id, self._last_step = plan_id, -1
        self._is_over, self._gone = False, None
        return True

    def _begin_load(self, sentence: str) -> None:
        self._stats["fetching"] = sentence  # for the beats until it is loaded
        self._notifier.status(sentence)

    def _drop(self) -> None:
        """Serve no more; the members of a group notice at once."""
        self._holding.drop()
        self._membership.leave()

    def _look_after(self) -> None:
        """Compute no further with a file that has changed; fetch anew what lies damaged beside."""
        assign = self._assign
        reason = self._holding.look_after(may_fetch=self._awaited is None)
        if reason is not None and assign is not None:
            log.error("event=shard_dropped reason=%r", reason)
            self._drop()
            self._tell(self._failed(assign, reason, NO_STEP))

    def _failed(self, assign: m.Assign, reason: str, step: int = -1) -> m.Failed:
        node = self._config.node
        return m.Failed(node, self._incarnation, assign.plan_id, assign.epoch, reason, step)

    # ------------------------------------------------------------------------------------ steps

    def _read_step(self) -> None:
        """Run one step; the next one is as quickly found by the next turn."""
        received = time.monotonic()
        frames = self._steps.receive_frames()
        if frames is None:
            return
        try:
            message = unpack(frames)
        except BadFrame as error:
            self._work.bad_frames += 1
            log.warning("event=bad_frame reason=%r", str(error))
            return
        if isinstance(message, m.Step | m.Sampled) and not self._is_neighbours(message):
            self._work.refused += 1
            return
        if isinstance(message, m.Sampled):
            if self._ahead.hear(self._engine, message):
                self._idle_since = time.monotonic()
            return
        if not isinstance(message, m.Step):
            return
        if self._is_mine(message):
            self._last_step = message.step
            self._last.begin(message.epoch, message.step)
            try:
                self._run(message, frames, received)
            except MemberGone as error:
                self._lose_member(str(error))
            except (BrambleError, MemoryError) as error:
                self._give_up(message, str(error) or "out of memory")
            self._last.end()  # whatever else is raised ends the process, and the note stays
        else:
            self._work.refused += 1
            log.debug("event=refused step=%d epoch=%d", message.step, message.epoch)

    def _is_neighbours(self, message: m.Step | m.Sampled) -> bool:
        """True if it is of whom this stage hears, or there is nothing to run it on."""
        return self._assign is None or self._neighbours.hears(message)

    def _give_up(self, step: m.Step, reason: str) -> None:
        """A step failed, and with it what its epoch has in the caches: the head begins another."""
        log.error("event=step_failed step=%d epoch=%d reason=%r", step.step, step.epoch, reason)
        self._end_epoch()
        assert self._assign is not None
        self._tell(self._failed(self._assign, reason, step.step))

    def _lose_member(self, reason: str) -> None:
        """No step is to blame for it but the one that it died over, which it says itself."""
        log.error("event=member_gone reason=%r", reason)
        self._end_epoch()
        self._gone = (time.monotonic(), reason)

    def _tell_gone(self, now: float) -> None:
        """Tell of a member that was lost, if nobody who knows more of it has ended the epoch."""
        if self._gone is None or self._assign is None or now - self._gone[0] < GONE_S:
            return
        self._tell(self._failed(self._assign, self._gone[1], NO_STEP))
        self._gone = None

    def _end_epoch(self) -> None:
        """Run no further step of it; other members of a group notice at once."""
        self._is_over = True
        self._ahead.clear()
        self._membership.leave()

    def _is_mine(self, step: m.Step) -> bool:
        """False for another plan's or epoch's step, for a repeat, and once the epoch is over."""
        return (
            self._assign is not None
            and not self._is_over
            and step.plan_id == self._plan_id
            and step.epoch == self._assign.epoch
            and step.step > self._last_step
        )

    def _run(self, step: m.Step, frames: list[bytes], received: float) -> None:
        assert self._assign is not None
        assert self._engine is not None
        self._core.follow(step)
        if self._samples and any(each.sampling.top_p < 1 for each in step.opens):
            self._wait_for(self._warming.begin())
        if self._samples and any(each.grammar for each in step.opens):
            self._wait_for(started(self._engine.get_ready_for_grammars))
        # One token is soon done; a chunk may take longer than the head waits for a sign of life
        is_long = step.token_ids.size > 1
        result = self._engine.run(step, self._beat_within if is_long else None)
        self._neighbours.pass_on(step, frames, result, self._trace(received, result))
        self._work.count(step.token_ids.size, result)
        if self._assign.share.has_embed and not self._assign.group:
            self._ahead.follow(self._engine, step, result.token_ids)
        self._idle_since = time.monotonic()
        self._heads.excuse(self._idle_since - received)  # they may have answered meanwhile

    def _has_step(self) -> bool:
        """True if another step has arrived."""
        return any(self._poll.readable(0, self._steps))

    def _trace(self, received: float, result: StepResult) -> tuple[int, int, int]:
        """Return µs: waiting for this step, compute, and Python so far (the send comes after)."""
        waiting = (received - self._idle_since) * 1e6
        compute_here = result.compute_us - result.foreseen_us
        python = (time.monotonic() - received) * 1e6 - compute_here
        return int(waiting), int(result.compute_us), max(0, int(python))


def _plan_id(assign: m.Assign) -> bytes:
    try:
        return bytes.fromhex(assign.plan_id)
    except ValueError as error:
        raise BadInput(f"the plan's id is {assign.plan_id!r}, need hex digits") from error

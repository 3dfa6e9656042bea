"""The ring as the head drives it: epochs, the golden check, steps out and answers in.

States: waiting (for stages) → loading → checking → serving; failed with a reason. It uses the
registry for who is there and the scheduler's plans for what to send; sockets are passed in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput, Broken
from bramble.head.assignments import Epoch, assignments
from bramble.head.registry import Registry, StageEntry
from bramble.head.sequence import Sequence
from bramble.head.step_plan import StepPlan
from bramble.model.digest import error
from bramble.model.manifest import Manifest
from bramble.observe.repeats import Repeats
from bramble.plan.cache_kind import AUTO, cache_kind
from bramble.plan.planner import Node, Plan, StagePlan, plan_ring
from bramble.wire.messages import Assign, Hello, Member, Message, Open, Sampled, Step, StepKind
from bramble.wire.terms import epoch_of

log = logging.getLogger(__name__)

# Two chunks of 128 tokens of an 8B model take one Raspberry Pi 5 about a minute, behind a long text
# two. What is lost is noticed otherwise: by gaps, by stages that idle and by those that are silent.
STEP_TIMEOUT_S = 600.0
STRANDED_S = 5.0  # on a hop: as long as ZeroMQ bears a silent one (HEARTBEAT_TIMEOUT_MS)
# Of the golden check, which is recorded with float32; a wrong layer is about 1. Measured: float16
# 0.0006 to 0.003, int8 0.03 to 0.08
CACHE_TOLERANCES = {"float32": 0.0, "float16": 0.05, "int8": 0.25}
# The same of a group's exchange. Measured: float16 0.001 (in int4 0.03), q8 0.015 to 0.08
EXCHANGE_TOLERANCES = {"float32": 0.0, "float16": 0.05, "q8": 0.25}
RETRY_S = 15.0  # after a failure, in case a person has put it right
# The same where a stage could not load its shard: a file, a disk's room or a permission is put
# right at any moment, and a stage does not read again what is as it was
RETRY_LOAD_S = 3.0


class State(StrEnum):
    WAITING = "waiting"
    LOADING = "loading"
    CHECKING = "checking"
    SERVING = "serving"
    FAILED = "failed"


class Sender(Protocol):
    def send(self, message: Message) -> None: ...


@dataclass(frozen=True, slots=True)
class Settings:
    """What of the head's configuration shapes the plan."""

    rows: int
    max_length: int
    sampled_endpoint: str
    node: str = ""  # the head's own
    kv_cache: str = AUTO  # one of plan/cache_kind.KINDS
    exchange: str = "float32"  # form of what the members of a group send each other
    for_cache: bool = False  # layers are split for the most cache, not the least time


class Ring:
    """One ring of one model.

    first_epoch  differs from those of earlier heads, whose steps may still be under way and whose
                 terms stages of an earlier release do not remember
    connect      makes the way to all members of the first stage
    tell         sends an assignment to a stage
    """

    def __init__(
        self,
        manifest: Manifest,
        manifest_sha256: str,
        registry: Registry,
        settings: Settings,
        first_epoch: int,
        connect: Callable[[tuple[Member, ...]], Sender],
        tell: Callable[[StageEntry, Assign], None],
    ) -> None:
        self.manifest = manifest
        self.registry = registry
        self.plan: Plan | None = None
        self.epoch = first_epoch
        self.term = 0  # of the head, once it has one
        self.state = State.WAITING
        self._reason: str | None = None
        self.manifest_sha256 = manifest_sha256
        self._settings = settings
        self._connect = connect
        self._tell = tell
        self._first: Sender | None = None
        self._first_members: tuple[Member, ...] = ()
        self._sent_at: dict[int, float] = {}  # of steps under way, in the order in which they went
        self._has_gap = False
        self._retry_at = 0.0
        self._repeats = Repeats()  # of one failure
        self._hop = ""  # why the last golden check did not come through, for a person
        self._suspects: tuple[str, ...] = ()  # nodes whose files are to be hashed and packed anew
        self._renewed: set[str] = set()  # nodes that were told so since the ring last served

    # ------------------------------------------------------------------------------- activation

    def activate(self, now: float) -> bool:
        """Plan and assign anew if every stage is there; True if an epoch began."""
        self._sent_at.clear()
        self._has_gap = False
        if not self.registry.is_complete:
            self.state, self._reason = State.WAITING, None
            return False
        number = epoch_of(self.term, self.epoch + 1)
        try:
            self.plan = self._make_plan()
            assigns = assignments(self.plan, self._epoch(number), self.registry.hello_of)
        except BadInput as problem:
            self.fail(str(problem), now)
            return False
        self.epoch = number
        self.state, self._reason = State.LOADING, None
        for member, assign in zip(self.plan.members, assigns, strict=True):
            self._tell(self.registry.assigned(member.node, assign), assign)
        self._renewed.update(self._suspects)
        self._suspects = ()
        level = logging.DEBUG if self._repeats.is_again else logging.INFO
        plan = self.plan.plan_id.hex()[:8]
        log.log(level, "event=activate term=%d epoch=%d plan=%s", self.term, self.epoch, plan)
        return True

    def check(self, now: float) -> None:
        """Every stage is ready: replay the golden check, or serve if the model has none."""
        assert self.plan is not None
        nodes = self.plan.stages[0].nodes
        members = tuple(Member(node, self.registry.hello_of(node).endpoint) for node in nodes)
        if members != self._first_members or self._first is None:
            try:
                self._first, self._first_members = self._connect(members), members
            except BadInput as problem:  # an address that is none, or a node whose key is unknown
                self._first, self._first_members = None, ()
                self.fail(str(problem), now)
                return
        golden = self.manifest.golden
        if golden is None:
            self._serve()
            return
        self.state = State.CHECKING
        self._send(_golden_step(self.plan, self.epoch, golden.token_ids), now)

    def fail(self, reason: str, now: float, retry_s: float = RETRY_S) -> None:
        self.state, self._reason, self._retry_at = State.FAILED, reason, now + retry_s
        why = "; ".join([reason, *self.registry.failures()])
        if (more := self._repeats.tell(why, now)) is not None:
            log.error("event=ring_failed reason=%r%s", why, more)

    def fail_load(self, now: float) -> None:
        """A stage cannot load its shard; the registry knows why."""
        self.fail("a stage cannot load its shard", now, RETRY_LOAD_S)

    def is_due(self, now: float) -> bool:
        """True if a failed ring should be tried again: at once, if something is done about it."""
        is_over = bool(self._suspects) or now > self._retry_at
        return self.state is State.FAILED and is_over

    def has_lost_step(self, now: float) -> bool:
        """True if a step will not come back: a hop's connection dropped with it, or a stage hangs.

        No stage has it if all say that they have run nothing for longer than a hop takes.
        """
        step, sent_at = next(iter(self._sent_at.items()), (0, now))
        is_stranded = all(
            entry.heard_at - sent_at > STRANDED_S and entry.stats.get("idle_s", 0.0) > STRANDED_S
            for entry in self.registry.entries
        )
        is_lost = self._has_gap or is_stranded or now - sent_at > STEP_TIMEOUT_S
        if is_lost:
            self._hop = self._silent_hop(step) if is_stranded else ""
            why = self._hop or ("overtaken" if self._has_gap else "took too long")
            log.warning("event=step_lost step=%d reason=%r", step, why)
        return is_lost

    def note_failed_step(self, reason: str) -> None:
        """Have a person know why the golden check did not come through, while it is tried again."""
        if self.state is State.CHECKING:
            self._hop = reason

    def _silent_hop(self, step: int) -> str:
        """Say where a step got lost: between the first that did not run it and who sends to it."""
        source, target = self.last_node, "the head"
        sources = ["the head", *(group[0] for group in self.registry.groups)]
        for sender, group in zip(sources, self.registry.groups, strict=False):
            idle = [node for node in group if not self._has_run(node, step)]
            if idle:
                source, target = sender, idle[0]
                break
        return (
            f"nothing gets from {source} to {target}: check the network between them and "
            f"{target}'s firewall (bramble doctor)"
        )

    def _has_run(self, node: str, step: int) -> bool:
        return int(self.registry.entry(node).stats.get("last_step", step)) >= step

    @property
    def is_failing_again(self) -> bool:
        """True while it fails as it did before: the log has it."""
        return self._repeats.is_again

    @property
    def reason(self) -> str | None:
        """Why the ring does not serve, for a person; None if it does."""
        if self.state is State.SERVING:
            return None
        if self.state is State.CHECKING:
            return self._hop or "comparing the stages' results with those of the export"
        return "; ".join(filter(None, [self._reason, *self.registry.problems()])) or "starting"

    # ------------------------------------------------------------------------------------ steps

    def send(self, plan: StepPlan, now: float) -> None:
        """Send one planned step. Raises Broken if the first stage takes nothing."""
        assert self.plan is not None
        step = Step(
            plan_id=self.plan.plan_id,
            epoch=self.epoch,
            step=plan.number,
            lane=plan.lane,
            kind=plan.kind,
            is_sampled=plan.is_sampled,
            is_check=False,
            first_row=plan.first_row,
            sequences=np.asarray(plan.ids, np.uint64),
            positions=np.asarray(plan.positions, np.int32),
            token_ids=np.asarray(plan.token_ids, np.int32),
            swaps=plan.swaps,
            copies=plan.copies,
            trims=plan.trims,
            opens=tuple(
                Open(
                    sequence.id,
                    sequence.num_prompt_tokens,
                    sequence.sampling,
                    tuple(sequence.tokens) if _needs_history(sequence) else (),
                    sequence.grammar,
                )
                for sequence in plan.opens
            ),
            closes=plan.closes,
        )
        self._send(step, now)

    def accept(self, sampled: Sampled, now: float) -> bool:
        """True if this answers a step of ours that a scheduler waits for.

        The golden check's answer is taken in here: the ring then serves, or has failed.
        """
        if self.plan is None or sampled.plan_id != self.plan.plan_id or sampled.epoch != self.epoch:
            return False
        if sampled.step not in self._sent_at or self._has_gap:
            return False
        if sampled.step != next(iter(self._sent_at)):
            # Answers come in the order of the steps. An older one is lost, and with it what it did
            # to the rows: what was computed behind it may be of the wrong tokens.
            self._has_gap = True
            return False
        del self._sent_at[sampled.step]
        if self.state is State.CHECKING:
            self._judge(sampled, now)
            return False
        return self.state is State.SERVING

    @property
    def last_node(self) -> str:
        """The node whose answers count: rank 0 of the last stage."""
        return self.registry.groups[-1][0]

    def _judge(self, sampled: Sampled, now: float) -> None:
        golden = self.manifest.golden
        assert golden is not None and self.plan is not None
        allowed = max(golden.tolerance, CACHE_TOLERANCES[self.plan.kv_cache])
        if any(len(stage.members) > 1 for stage in self.plan.stages):
            allowed = max(allowed, EXCHANGE_TOLERANCES[self._settings.exchange])
        for index, stage in enumerate(self.plan.stages):
            difference = _difference(sampled.digests, index, golden.digests[stage.stop])
            log.debug("event=compared stage=%d difference=%.2g", index, difference)
            if difference > allowed:
                is_first = self._renewed.isdisjoint(stage.nodes)
                self._suspects = stage.nodes if is_first else ()
                for node in stage.nodes:  # which of them it is, a sum does not tell
                    entry = self.registry.entry(node)
                    entry.state = "failed"
                    entry.reason = _verdict(stage, difference, allowed, is_first)
                self.fail("the golden check failed", now)
                return
        self._serve()

    def _serve(self) -> None:
        self.state, self._hop = State.SERVING, ""
        self._repeats.end()
        self._renewed.clear()
        log.info("event=serving epoch=%d", self.epoch)

    def _send(self, step: Step, now: float) -> None:
        if self._first is None:
            raise Broken("no stage is connected")
        self._sent_at[step.step] = now
        self._first.send(step)

    # ------------------------------------------------------------------------------------- plan

    def _make_plan(self) -> Plan:
        hellos = [
            [self.registry.hello_of(node) for node in group] for group in self.registry.groups
        ]
        groups = [tuple(map(_node_of, group)) for group in hellos]
        settings = self._settings
        machines = (hello.machine for group in hellos for hello in group)
        return plan_ring(
            self.manifest,
            self.manifest_sha256,
            groups,
            settings.rows,
            settings.max_length,
            cache_kind(self.manifest, settings.kv_cache, machines),
            for_cache=settings.for_cache,
        )

    def _epoch(self, number: int) -> Epoch:
        head = Member(self._settings.node, self._settings.sampled_endpoint)
        return Epoch(number, self.term, head, self._suspects, self._settings.exchange)


def _node_of(hello: Hello) -> Node:
    return Node(hello.node, hello.memory_bytes, machine=hello.machine)


def _needs_history(sequence: Sequence) -> bool:
    return sequence.sampling.has_penalty or bool(sequence.grammar)


def _golden_step(plan: Plan, epoch: int, token_ids: tuple[int, ...]) -> Step:
    """Step 0 of an epoch: the scheduler's own begin at 1."""
    return Step(
        plan_id=plan.plan_id,
        epoch=epoch,
        step=0,
        lane=0,
        kind=StepKind.PREFILL,
        is_sampled=False,
        is_check=True,
        first_row=0,
        sequences=np.zeros(1, np.uint64),
        positions=np.zeros(1, np.int32),
        token_ids=np.asarray([token_ids], np.int32),
        trims=(),
    )


def _difference(digests: NDArray[np.float32], index: int, expected: tuple[float, ...]) -> float:
    return error(digests[index], expected) if index < len(digests) else float("inf")


def _verdict(stage: StagePlan, difference: float, tolerance: float, is_first: bool) -> str:
    what_now = (
        "its files are now hashed and packed anew"
        if is_first
        else "its files were hashed and packed anew; check this node's memory, power supply and SD "
        "card (bramble doctor), then restart its stage"
    )
    return (
        f"computes something else than the export did: behind layer {stage.stop - 1} the hidden "
        f"state differs by {difference:.2g}, {tolerance:.2g} is allowed; {what_now}"
    )

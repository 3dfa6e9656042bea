"""One ring at work: its steps out and answers in, and its own way back after a failure.

It joins a Ring and a Scheduler, and knows nothing of clients or sockets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator

import bramble
from bramble.config import HeadConfig
from bramble.errors import Broken
from bramble.head import answer
from bramble.head.ring import Ring, State
from bramble.head.scheduler import Limits, Scheduler
from bramble.head.speed import Speed
from bramble.head.step_plan import Emission, StepPlan
from bramble.wire import messages as m

log = logging.getLogger(__name__)

GIVE_UP_S = 60.0  # a ring that is down for longer keeps nobody waiting


class ServedRing:
    def __init__(
        self,
        ring: Ring,
        config: HeadConfig,
        arrivals: Iterator[int],
        note_start: Callable[[str, float], None],
        now: float,
    ) -> None:
        """Serve `ring`.

        arrivals    numbers the requests of all rings
        note_start  hears the name of each request that a step is sent for
        """
        self.ring = ring
        self.speed = Speed()
        self.max_length: int | None = None  # tokens of a request; None until the ring is planned
        self._config = config
        self._note_start = note_start
        self._served_at = now
        self.scheduler = Scheduler(
            Limits(
                ring.registry.num_stages,
                config.max_rows,
                0,
                config.prefill_tokens,
            ),
            arrivals=arrivals,
        )

    @property
    def is_serving(self) -> bool:
        return self.ring.state is State.SERVING

    @property
    def reason(self) -> str | None:
        """Why the ring does not serve, for a person; None if it does."""
        return self.ring.reason

    def is_given_up(self, now: float) -> bool:
        """True if nobody should begin to wait for the ring: it has failed, or is down for long."""
        has_failed = self.ring.state is State.FAILED and not self.ring.is_due(now)
        return has_failed or self.is_down_for_long(now)

    def is_down_for_long(self, now: float) -> bool:
        """True if nobody should wait any longer either.

        A failure alone is no reason to end what was accepted: what a person, or the stage itself,
        puts right is noticed within seconds.
        """
        return not self.is_serving and now - self._served_at > GIVE_UP_S

    def excuse(self, now: float) -> None:
        """It need not serve now: another head does."""
        self._served_at = now

    # ------------------------------------------------------------------------------------ steps

    def accept(self, sampled: m.Sampled, now: float) -> bool:
        """True if this answers a step of this ring's scheduler."""
        return self.ring.accept(sampled, now)

    def take_in(self, sampled: m.Sampled, now: float) -> list[Emission]:
        """Free the answered step's lane, send what can follow, return the new tokens."""
        plan = self.scheduler.under_way(sampled.step)
        if plan is not None and (wrong := self._fault(plan, sampled)) is not None:
            log.error("event=bad_answer step=%d reason=%r", sampled.step, wrong)
            self.restart(now, f"the answer to a step was wrong: {wrong}", {sampled.step})
            return []
        emissions = self.scheduler.complete(sampled.step, sampled.token_ids.tolist())
        self.pump(now)
        if plan is not None:
            self._count(plan, sampled, len(emissions), now)
        if not self.scheduler.is_working:
            self.speed.rest()
        return emissions

    def _fault(self, plan: StepPlan, sampled: m.Sampled) -> str | None:
        vocab_size = self.ring.manifest.shape.vocab_size
        return answer.fault(plan, sampled, self.ring.registry.num_stages, vocab_size)

    def _count(self, plan: StepPlan, sampled: m.Sampled, num_emitted: int, now: float) -> None:
        is_prefill = plan.kind.is_chunk
        num_tokens = sum(map(len, plan.token_ids))
        self.speed.count(now, num_emitted, num_tokens if is_prefill else 0)
        stage_us = sampled.traces[:, 1].tolist()
        if is_prefill:
            self.scheduler.pace.count_chunk(num_tokens, stage_us)
            return
        compute_us = float(sum(stage_us))
        self.speed.trace(sampled.traces)
        self.scheduler.pace.count_decode(compute_us)
        if len(plan.ids) == 1:
            self.scheduler.costs.count(num_tokens, compute_us)

    def pump(self, now: float) -> None:
        """Send all that can be sent."""
        if not self.is_serving:
            return
        try:
            for plan in self.scheduler.schedule():
                self._note_start(plan.sequences[0].request, now)
                self.ring.send(plan, now)
                self.speed.begin(now)
        except Broken as error:
            log.warning("event=send_failed reason=%r", str(error))
            self.restart(now, "the first stage took no more steps")

    # ------------------------------------------------------------------------------- activation

    def restart(
        self,
        now: float,
        reason: str = "it was told to begin anew",
        fatal: Collection[int] | None = None,
    ) -> None:
        """Begin a new epoch: what was under way is prefilled again from its token ids.

        reason  what ended the last one
        fatal   the numbers of the steps that may be why; None = any that was under way
        """
        level = logging.DEBUG if self.ring.is_failing_again else logging.INFO
        log.log(level, "event=restart reason=%r", reason)
        self.blame(reason, fatal)
        self.speed.rest()
        self.ring.activate(now)

    def blame(self, reason: str, fatal: Collection[int] | None) -> None:
        """Take back all that is under way, and suspect what of it may have ended a stage."""
        self.scheduler.reset(reason=reason, fatal=fatal)

    def begin(self, now: float) -> None:
        """All stages are ready: size the scheduler by the plan and replay the golden check."""
        plan = self.ring.plan
        assert plan is not None
        self.max_length = plan.max_length
        # A stage of another release may not know steps that copy rows or carry guesses.
        is_of_release = self.ring.registry.is_of_release(bramble.__version__)
        self.scheduler.reset(
            Limits(
                len(plan.stages),
                plan.rows,
                plan.budget_tokens,
                self._config.prefill_tokens,
                can_copy=is_of_release,
                can_replay=is_of_release,
                can_constrain=is_of_release,
                is_guessing=is_of_release and self._config.speculation == "auto",
            )
        )
        self.ring.check(now)

    def tick(self, now: float) -> None:
        """Notice what does not happen: stages that fall silent, steps that never come back."""
        if self.is_serving:
            self._served_at = now
        lost = self.ring.registry.lose_silent(now)
        for entry in lost:
            log.warning("event=stage_lost node=%s", entry.node)
        if lost:
            self.restart(now, f"{lost[0].node} fell silent")
        elif self.ring.has_lost_step(now):
            self.restart(now, "a step did not come back")
        elif self.ring.is_due(now):
            self.restart(now, "another try after a failure")

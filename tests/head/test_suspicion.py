"""Stages that end over a token: its request is found, ended, and takes no other with it."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from bramble.head.scheduler import Scheduler
from bramble.head.sequence import Sequence, State
from bramble.head.step_plan import StepPlan
from bramble.head.suspicion import LONE_DEATHS, MAX_DEATHS
from bramble.wire.messages import Finish, StepKind
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.head.test_scheduler import (
    CheckingRing,
    expected_reply,
    limits,
    next_token,
    next_token_in_phrases,
    sequence,
)

POISON = 7777
KINDS = [(StepKind.DECODE,), (StepKind.PREFILL,), (StepKind.VERIFY,), tuple(StepKind)]


def is_poisoned(plan: StepPlan, index: int, kinds: tuple[StepKind, ...]) -> bool:
    return POISON in plan.token_ids[index] and plan.kind in kinds


@dataclass
class FragileRing(CheckingRing):
    """Ends over a step that `is_fatal`; the scheduler is told, as a new epoch begins."""

    is_fatal: Callable[[StepPlan], bool] = lambda plan: False
    deaths: list[StepPlan] = field(default_factory=list)
    told: set[int] = field(default_factory=set)  # ids of the sequences that were opened

    def turn(self, scheduler: Scheduler, knows_step: bool = False) -> None:
        """Send all that can be sent, and answer the oldest step, or end over it."""
        for plan in scheduler.schedule():
            self.send(plan)
        if not self.under_way:
            return
        plan = self.under_way[0]
        if self.is_fatal(plan):
            self.deaths.append(plan)
            self.end(scheduler, {plan.number} if knows_step else None)
        else:
            scheduler.complete(*self.answer())

    def end(self, scheduler: Scheduler, fatal: set[int] | None = None) -> None:
        scheduler.reset(reason="stage 1 (pi2) ended", fatal=fatal)
        self.under_way.clear()
        self.rows.clear()
        self.told.clear()

    def send(self, plan: StepPlan) -> None:
        super().send(plan)
        self.told |= {each.id for each in plan.opens}

    def _row(self, plan: StepPlan, index: int) -> int:
        is_told = plan.ids[index] in self.told
        assert is_told or not plan.is_sampled, "a sequence is sampled before it is opened"
        return super()._row(plan, index)


def run(ring: FragileRing, scheduler: Scheduler, turns: int = 20_000) -> None:
    for _ in range(turns):
        ring.turn(scheduler)
        if not ring.under_way and not scheduler.waiting and not scheduler.running:
            return
    raise AssertionError("the scheduler does not come to an end")


def poisoned(tokens: list[int]) -> int:
    """What follows, and now and then the poison: in replies of one kind of prompt alone."""
    return POISON if tokens[0] == 1 and len(tokens) % 23 == 22 else next_token(tokens)


@pytest.mark.parametrize("knows_step", [False, True])
@pytest.mark.parametrize("num_stages", [1, 3])
@pytest.mark.parametrize("kinds", KINDS[:2])
@pytest.mark.parametrize("is_asked", [True, False])
def test_a_token_that_ends_stages_ends_its_request_after_the_second_death(
    kinds: tuple[StepKind, ...], num_stages: int, is_asked: bool, knows_step: bool
) -> None:
    """Twenty others lose nothing; `is_asked`: the token is in the prompt, else it is sampled."""
    scheduler = Scheduler(limits(num_stages=num_stages, num_rows=4 * num_stages))
    ring = FragileRing(scheduler.limits, poisoned)
    ring.is_fatal = lambda plan: any(is_poisoned(plan, i, kinds) for i in range(len(plan.ids)))
    others = [[i + 2, *range(i % 30)] for i in range(20)]
    asked = [sequence(prompt, len(prompt) + 40) for prompt in others]
    prompt = [0 if is_asked else 1, *range(9, 29), *([POISON] if is_asked else []), 5]
    bad = sequence(prompt, len(prompt) + 40)
    for each in (*asked[:6], bad, *asked[6:]):
        scheduler.add(each)
    for _ in range(20_000):
        ring.turn(scheduler, knows_step)
    is_harmless = kinds == ((StepKind.DECODE,) if is_asked else (StepKind.PREFILL,))
    assert len(ring.deaths) == (0 if is_harmless else 2)
    assert bad.deaths == len(ring.deaths)
    assert (bad.problem is None) is is_harmless
    if not is_harmless:
        assert "a stage ended 2 times" in str(bad.problem) and "stage 1 (pi2)" in str(bad.problem)
    for each, words in zip(asked, others, strict=True):
        assert each.tokens == expected_reply(words, len(words) + 40, poisoned)
        assert each.problem is None and each.finish is Finish.LENGTH


def test_a_guess_that_ends_stages_is_not_made_again_and_its_request_goes_on() -> None:
    scheduler = Scheduler(limits(num_stages=2, is_guessing=True))
    ring = FragileRing(scheduler.limits, lambda tokens: 9)
    ring.is_fatal = lambda plan: is_poisoned(plan, 0, (StepKind.VERIFY,))
    prompt = [9, 9, 9, POISON] * 5 + [9, 9]
    one = sequence(prompt, 60)
    scheduler.add(one)
    run(ring, scheduler)
    assert len(ring.deaths) == 1
    assert one.tokens == expected_reply(prompt, 60, lambda tokens: 9)


def test_who_is_fatal_in_company_alone_runs_alone_and_to_its_end() -> None:
    scheduler = Scheduler(limits(num_stages=1, num_rows=4))
    ring = FragileRing(scheduler.limits)
    prompts = [[i + 3] * 9 for i in range(4)]
    asked = [sequence(prompt, 60) for prompt in prompts]
    ring.is_fatal = lambda plan: len(plan.ids) > 1 and asked[1] in plan.sequences
    for each in asked:
        scheduler.add(each)
    run(ring, scheduler)
    assert len(ring.deaths) == LONE_DEATHS
    assert [each.tokens for each in asked] == [expected_reply(p, 60) for p in prompts]


def test_a_ring_that_ends_over_everything_is_given_up_request_by_request() -> None:
    scheduler = Scheduler(limits(num_stages=1, num_rows=2))
    ring = FragileRing(scheduler.limits, is_fatal=lambda plan: True)
    asked = [sequence([i + 3] * 9, 60) for i in range(5)]
    for each in asked:
        scheduler.add(each)
    run(ring, scheduler)
    assert all(each.problem and each.deaths <= MAX_DEATHS for each in asked)


def test_two_requests_that_end_stages_are_both_found() -> None:
    scheduler = Scheduler(limits(num_stages=2, num_rows=8))
    ring = FragileRing(scheduler.limits)
    ring.is_fatal = lambda plan: any(is_poisoned(plan, i, KINDS[-1]) for i in range(len(plan.ids)))
    good, bad = [3] * 20, [4] * 10 + [POISON]
    asked = [sequence(list(prompt), 40) for prompt in (bad, good, bad, good)]
    for each in asked:
        scheduler.add(each)
    run(ring, scheduler)
    assert [each.problem is None for each in asked] == [False, True, False, True]
    assert asked[1].tokens == asked[3].tokens == expected_reply(good, 40)
    assert len(ring.deaths) <= 4


def test_a_suspect_has_the_ring_for_itself_while_it_is_tried() -> None:
    scheduler = Scheduler(limits(num_stages=3, num_rows=9))
    ring = FragileRing(scheduler.limits)
    asked = [sequence([i + 3] * (5 + 20 * i), 200) for i in range(6)]
    for each in asked:
        scheduler.add(each)
    for _ in range(60):
        ring.turn(scheduler)
    ring.end(scheduler)
    tried = [each for each in asked if each.suspicion is not None]
    fatal = {each: each.suspicion for each in tried}
    assert len(tried) > 2
    while any(each.suspicion for each in asked):
        for plan in scheduler.schedule():
            ring.send(plan)
        for plan in ring.under_way:
            for i, each in enumerate(plan.sequences):
                found = fatal.get(each)
                stop = plan.positions[i] + len(plan.token_ids[i])
                if (
                    found
                    and each.suspicion
                    and plan.positions[i] < found.stop
                    and stop > found.start
                ):
                    assert all(other.sequences == (each,) for other in ring.under_way)
        scheduler.complete(*ring.answer())
    assert all(each.problem is None for each in asked)


def lost_elsewhere(prompt: list[int], max_tokens: int) -> Sequence:
    """A request whose first chunk was under way as another ring's stage ended; it waits to move."""
    other = Scheduler(limits(num_stages=3))
    lost = sequence(prompt, max_tokens)
    other.add(lost)
    first = next(iter(other.schedule()))
    assert first.positions == (0,) and len(first.token_ids[0]) < len(prompt)
    other.reset()
    assert lost.suspicion is not None and lost.suspicion.start == 0
    other.withdraw(lost)
    return lost


def test_a_suspect_whose_prompt_another_ring_has_cached_is_tried_there_all_the_same() -> None:
    """What ended a stage is computed alone, not taken from the cache: else it is never cleared."""
    prompt = [2, *range(10, 60)]
    scheduler = Scheduler(limits(num_stages=1, num_rows=4))
    ring = FragileRing(scheduler.limits)
    scheduler.add(sequence(prompt, 60))
    run(ring, scheduler)
    lost = lost_elsewhere(prompt, 60)
    first_step = len(ring.steps)
    scheduler.adopt(lost)
    run(ring, scheduler)
    assert lost.tokens == expected_reply(prompt, 60) and lost.suspicion is None
    assert ring.steps[first_step].positions == (0,)


def test_a_suspect_that_moves_away_holds_up_nobody_where_it_was() -> None:
    scheduler = Scheduler(limits(num_stages=1, num_rows=4))
    ring = FragileRing(scheduler.limits)
    lost, other = lost_elsewhere([2, *range(10, 60)], 60), sequence([3] * 20, 40)
    scheduler.adopt(lost)
    scheduler.add(other)
    for plan in scheduler.schedule():
        ring.send(plan)
    assert ring.under_way[-1].sequences == (lost,) and lost.suspicion is not None
    scheduler._preempt(lost)  # as where the cache has no room
    scheduler.withdraw(lost)
    lost.state = State.SAMPLING  # at the other ring, already
    run(ring, scheduler)
    assert other.tokens == expected_reply([3] * 20, 40)


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from(KINDS), st.booleans())
def test_whatever_ends_when_the_others_get_their_tokens(
    seed: int, num_stages: int, kinds: tuple[StepKind, ...], is_guessing: bool
) -> None:
    """Arrivals, cancellations, poison in some requests, and stages that end for other reasons."""
    random = Random(seed)
    scheduler = Scheduler(
        limits(
            num_stages=num_stages,
            num_rows=num_stages * random.randrange(1, 4),
            budget_tokens=random.choice([512, 100_000]),
            can_copy=random.random() < 0.5,
            is_guessing=is_guessing,
        )
    )

    def model(tokens: list[int]) -> int:
        is_bad = tokens[0] == 1 and len(tokens) % 31 == 30
        return POISON if is_bad else next_token_in_phrases(tokens)

    ring = FragileRing(scheduler.limits, model)
    ring.is_fatal = lambda plan: any(is_poisoned(plan, i, kinds) for i in range(len(plan.ids)))
    asked: list[tuple[Sequence, list[int]]] = []
    unlucky: set[Sequence] = set()  # may have been tried alone as a stage ended for other reasons
    shared = [random.randrange(3, 99) for _ in range(40)]
    for _ in range(150):
        event = random.random()
        if event < 0.15:
            is_bad = random.random() < 0.2
            prompt = [1 if is_bad else 2, *shared[: random.randrange(40)], random.randrange(3, 99)]
            asked.append((sequence(list(prompt), len(prompt) + random.randrange(1, 50)), prompt))
            scheduler.add(asked[-1][0])
        elif event < 0.18 and asked:
            scheduler.finish(random.choice(asked)[0], Finish.CANCELLED)
        elif event < 0.185:
            unlucky.update(plan.sequences[0] for plan in ring.under_way if len(plan.ids) == 1)
            ring.end(scheduler)
        for _ in range(random.randrange(4)):
            ring.turn(scheduler, knows_step=random.random() < 0.3)
    run(ring, scheduler)
    ended = Counter(plan.sequences[0] for plan in ring.deaths if len(plan.ids) == 1)
    assert all(count <= LONE_DEATHS for count in ended.values())
    for each, prompt in asked:
        assert each.state is State.FINISHED
        reply = expected_reply(prompt, each.max_tokens, model)
        assert each.problem is None or POISON in reply or each in unlucky
        wanted = reply if each.finish is Finish.LENGTH else reply[: len(each.tokens)]
        assert each.tokens == wanted

"""The scheduler against a ring that checks every cache row it reads.

The stand-in ring does what the stages do, in order: it holds the token ids of each row where a
stage holds keys and values, and refuses to compute from a row that does not hold what it should.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from bramble.head.pace import MIN_CHUNK, MIN_LONE_CHUNK
from bramble.head.rows import MIN_PREFIX
from bramble.head.scheduler import Limits, Scheduler
from bramble.head.sequence import Sequence, State
from bramble.head.step_plan import StepPlan
from bramble.wire.messages import Finish, StepKind
from hypothesis import given, settings
from hypothesis import strategies as st


def next_token(tokens: list[int]) -> int:
    """A deterministic model: what follows depends on every token before."""
    return hash(tuple(tokens)) % 97 + 3


def next_token_in_phrases(tokens: list[int]) -> int:
    """A model that repeats itself: the last two tokens settle the next, but for now and then."""
    surprise = hash(tuple(tokens)) % 29
    return surprise + 50 if surprise < 2 else hash(tuple(tokens[-2:])) % 7 + 3


def expected_reply(
    prompt: list[int], max_tokens: int, model: Callable[[list[int]], int] = next_token
) -> list[int]:
    tokens = list(prompt)
    while len(tokens) < max_tokens:
        tokens.append(model(tokens))
    return tokens


@dataclass
class CheckingRing:
    """Steps under way, and what each row's cache holds."""

    limits: Limits
    next_token: Callable[[list[int]], int] = next_token
    rows: dict[int, list[int]] = field(default_factory=dict)
    under_way: deque[StepPlan] = field(default_factory=deque)
    steps: list[StepPlan] = field(default_factory=list)
    opened: set[int] = field(default_factory=set)

    def send(self, plan: StepPlan) -> None:
        self.under_way.append(plan)
        self.steps.append(plan)

    guessed: int = 0
    came_true: int = 0

    def answer(self) -> tuple[int, list[int]]:
        """Compute the oldest step as the stages would."""
        plan = self.under_way.popleft()
        for a, b, tokens in plan.swaps:
            left, right = self.rows.get(a, []), self.rows.get(b, [])
            self.rows[a], self.rows[b] = right[:tokens], left[:tokens]
        for source, target, start, stop in plan.copies:
            assert len(self.rows.get(source, [])) >= stop, "a copy of what is not there"
            assert len(self.rows.get(target, [])) >= start, "a copy behind a hole"
            self.rows[target] = self.rows.get(target, [])[:start] + self.rows[source][start:stop]
        for row, keep in plan.trims:
            self.rows[row] = self.rows.get(row, [])[:keep]
        self.opened -= set(plan.closes)
        self.opened |= {sequence.id for sequence in plan.opens}
        if plan.kind is StepKind.VERIFY:
            return plan.number, self._verified(plan)
        return plan.number, [self._row(plan, i) for i in range(len(plan.ids))]

    def _verified(self, plan: StepPlan) -> list[int]:
        """Sample behind each token in turn, as long as the next guess comes true."""
        self._row(plan, 0)
        row = self.rows[plan.first_row]
        start, guesses = plan.positions[0], plan.token_ids[0][1:]
        found = [self.next_token(row[: start + i + 1]) for i in range(len(guesses) + 1)]
        wrong = (i for i, guess in enumerate(guesses) if guess != found[i])
        num_true = next(wrong, len(guesses))
        self.guessed += len(guesses)
        self.came_true += num_true
        return found[: num_true + 1]

    def _row(self, plan: StepPlan, index: int) -> int:
        row, start = plan.first_row + index, plan.positions[index]
        cached = self.rows.get(row, [])
        assert len(cached) >= start, "a token would be computed before those it looks back at"
        self.rows[row] = cached[:start] + self.computed(cached[:start], plan, index)
        return self.next_token(self.rows[row])

    def computed(self, cached: list[int], plan: StepPlan, index: int) -> list[int]:
        """Return what a row holds of a step's tokens, behind what it holds already."""
        return list(plan.token_ids[index])


def sequence(prompt: list[int], max_tokens: int) -> Sequence:
    return Sequence("r", list(prompt), len(prompt), max_tokens)


def drive(scheduler: Scheduler, ring: CheckingRing, turns: int = 10_000) -> None:
    """Let everything finish."""
    for _ in range(turns):
        for plan in scheduler.schedule():
            ring.send(plan)
        check_invariants(scheduler, ring)
        if not ring.under_way:
            return
        scheduler.complete(*ring.answer())
    raise AssertionError("the scheduler does not come to an end")


def check_invariants(scheduler: Scheduler, ring: CheckingRing) -> None:
    running = scheduler.running
    assert len({s.row for s in running}) == len(running), "a row is used twice"
    assert scheduler.reserved_tokens <= scheduler.limits.budget_tokens
    decodes = [p for p in ring.under_way if not p.kind.is_chunk]
    assert len({p.lane for p in decodes}) == len(decodes), "a lane has two steps under way"
    chunks = [p for p in ring.under_way if p.kind.is_chunk]
    assert len(chunks) <= scheduler.limits.max_chunks

    assert all(
        p.positions[0] + len(p.token_ids[0]) < s.max_tokens
        for p in ring.under_way
        if p.kind is StepKind.VERIFY
        for s in p.sequences
    ), "a guess leaves its row"


def limits(**changes: int) -> Limits:
    values = {
        "num_stages": 3,
        "num_rows": 6,
        "budget_tokens": 4096,
        "prefill_tokens": 16,
    }
    return Limits(**{**values, **changes})


def num_prefilled(ring: CheckingRing) -> int:
    return sum(len(tokens) for p in ring.steps if p.kind.is_chunk for tokens in p.token_ids)


def test_one_sequence_gets_the_tokens_that_one_process_would_give() -> None:
    scheduler, one = Scheduler(limits()), sequence(list(range(50)), 70)
    scheduler.add(one)
    drive(scheduler, CheckingRing(scheduler.limits))
    assert one.tokens == expected_reply(list(range(50)), 70)
    assert one.finish is Finish.LENGTH


@settings(max_examples=150)
@given(
    st.integers(0, 2**32),
    st.integers(1, 5),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([next_token, next_token_in_phrases]),
    st.booleans(),
    st.booleans(),
)
def test_any_mix_of_arrivals_cancels_and_resets_gives_the_same_tokens(
    seed: int,
    num_stages: int,
    rows_per_stage: int,
    is_tight: bool,
    model: Callable[[list[int]], int],
    is_guessing: bool,
    can_copy: bool,
) -> None:
    random = Random(seed)
    budget = 256 if is_tight else 100_000
    scheduler = Scheduler(
        limits(
            num_stages=num_stages,
            num_rows=num_stages * rows_per_stage,
            budget_tokens=budget,
            can_copy=can_copy,
            is_guessing=is_guessing,
        )
    )
    ring = CheckingRing(scheduler.limits, model)
    shared = [random.randrange(3, 99) for _ in range(40)]
    asked: list[tuple[Sequence, list[int]]] = []
    for _ in range(200):
        event = random.random()
        if event < 0.15:
            prompt = shared[: random.randrange(1, 40)] + [
                random.randrange(3, 99) for _ in range(random.randrange(1, 60))
            ]
            new = sequence(prompt, len(prompt) + random.randrange(1, 50))
            asked.append((new, prompt))
            scheduler.add(new)
        elif event < 0.18 and asked:
            scheduler.finish(random.choice(asked)[0], Finish.CANCELLED)
        elif event < 0.19:
            scheduler.reset()
            ring.under_way.clear()
            ring.rows.clear()
        for plan in scheduler.schedule():
            ring.send(plan)
        check_invariants(scheduler, ring)
        for _ in range(random.randrange(3)):
            if ring.under_way:
                scheduler.complete(*ring.answer())
    drive(scheduler, ring)
    for each, prompt in asked:
        assert each.state is State.FINISHED
        reply = expected_reply(prompt, each.max_tokens, model)
        wanted = reply if each.finish is Finish.LENGTH else reply[: len(each.tokens)]
        assert each.tokens == wanted


def test_all_lanes_work_at_once() -> None:
    scheduler = Scheduler(limits(num_stages=3, num_rows=6))
    for i in range(6):
        scheduler.add(sequence([i, i, i], 100))
    ring = CheckingRing(scheduler.limits)
    for _ in range(40):
        for plan in scheduler.schedule():
            ring.send(plan)
        under_way = list(ring.under_way)
        scheduler.complete(*ring.answer())
    assert {plan.lane for plan in under_way} == {0, 1, 2}
    assert all(plan.kind is StepKind.DECODE and len(plan.ids) == 2 for plan in under_way)


def test_streams_spread_over_the_lanes_again_when_others_have_ended() -> None:
    scheduler = Scheduler(limits(num_stages=2, num_rows=4))
    asked = [sequence([i, i, i], 20 if i % 2 else 200) for i in range(4)]  # lanes take turns
    for each in asked:
        scheduler.add(each)
    ring = CheckingRing(scheduler.limits)
    drive(scheduler, ring)
    late = [plan for plan in ring.steps if plan.kind is StepKind.DECODE][-100:]
    assert {plan.lane for plan in late} == {0, 1}
    assert all(len(plan.ids) == 1 for plan in late)
    assert [each.tokens for each in asked[::2]] == [expected_reply([i] * 3, 200) for i in (0, 2)]


def test_running_sequences_decode_while_a_long_prompt_enters() -> None:
    scheduler = Scheduler(limits(num_stages=2, num_rows=4))
    short, long = sequence([1], 200), sequence(list(range(600)), 700)
    ring = CheckingRing(scheduler.limits)
    scheduler.add(short)
    scheduler.add(long)
    tokens_before = 0
    while long.num_prefilled < 600:
        for plan in scheduler.schedule():
            ring.send(plan)
        scheduler.complete(*ring.answer())
        tokens_before = short.num_completion_tokens
    assert tokens_before >= 600 / 16 / scheduler.limits.max_chunks


def test_chunks_are_short_while_a_stream_runs_and_of_full_width_when_none_does() -> None:
    scheduler = Scheduler(limits(num_stages=2, num_rows=4, prefill_tokens=64))
    scheduler.pace.count_decode(100)
    scheduler.pace.count_chunk(64, [100 * 64])
    short, long = sequence([1, 2, 3], 20), sequence(list(range(600)), 610)
    ring = CheckingRing(scheduler.limits)
    scheduler.add(short)
    scheduler.add(long)
    widths: dict[bool, set[int]] = {True: set(), False: set()}
    while long.state in (State.WAITING, State.PREFILLING):
        for plan in scheduler.schedule():
            ring.send(plan)
            if plan.sequences == (long,):
                widths[short.state is State.FINISHED].add(len(plan.token_ids[0]))
        chunks = sum(plan.kind.is_chunk for plan in ring.under_way)
        assert chunks <= scheduler.limits.max_paced_chunks or short.state is State.FINISHED
        scheduler.complete(*ring.answer())
    assert max(widths[False]) == MIN_CHUNK
    assert max(widths[True]) > MIN_LONE_CHUNK


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 3))
def test_no_stream_waits_for_more_than_a_lap_of_all_others(
    seed: int, num_stages: int, rows_per_stage: int
) -> None:
    """Whatever arrives, a running stream's next step is among the next few that are answered."""
    random = Random(seed)
    scheduler = Scheduler(limits(num_stages=num_stages, num_rows=num_stages * rows_per_stage))
    ring, answered, last = CheckingRing(scheduler.limits), 0, {}
    lap = 2 * (num_stages + scheduler.limits.max_chunks)
    for _ in range(300):
        if random.random() < 0.2:
            scheduler.add(sequence([random.randrange(99)] * random.randrange(1, 99), 120))
        for plan in scheduler.schedule():
            ring.send(plan)
        if ring.under_way:
            emissions = scheduler.complete(*ring.answer())
            answered += 1
            last |= {id(emission.sequence): answered for emission in emissions}
        for each in scheduler.running:
            if each.state is not State.PREFILLING and id(each) in last:
                assert answered - last[id(each)] <= lap


def test_a_second_turn_prefills_only_what_is_new() -> None:
    scheduler = Scheduler(limits(num_stages=2, num_rows=4))
    ring = CheckingRing(scheduler.limits)
    first = sequence(list(range(100)), 120)
    scheduler.add(first)
    drive(scheduler, ring)
    ring.steps.clear()
    second = sequence([*first.tokens, 7, 8, 9], 140)
    scheduler.add(second)
    drive(scheduler, ring)
    assert num_prefilled(ring) == 4  # the last token of the first turn was never computed
    assert all(len(tokens) > 1 for p in ring.steps[:1] for tokens in p.token_ids)
    assert second.tokens == expected_reply([*first.tokens, 7, 8, 9], 140)


@pytest.mark.parametrize("num_stages", [1, 2, 4])
def test_conversations_that_begin_at_once_read_their_system_prompt_once(num_stages: int) -> None:
    scheduler = Scheduler(limits(num_stages=num_stages, num_rows=8))
    ring, system = CheckingRing(scheduler.limits), list(range(3, 203))
    asked = [sequence([*system, *[300 + i] * 10], 230) for i in range(8 // num_stages)]
    for each in asked:
        scheduler.add(each)
    drive(scheduler, ring)
    assert num_prefilled(ring) <= 200 + len(asked) * (10 + MIN_PREFIX)
    for i, each in enumerate(asked):
        assert each.tokens == expected_reply([*system, *[300 + i] * 10], 230)


def test_a_conversation_with_the_same_system_prompt_leaves_the_first_ones_cache() -> None:
    scheduler = Scheduler(limits(num_stages=2, num_rows=4))
    ring, system = CheckingRing(scheduler.limits), list(range(3, 103))
    first = sequence([*system, *[200] * 50], 170)
    scheduler.add(first)
    drive(scheduler, ring)
    for other in range(2):
        scheduler.add(sequence([*system, *[300 + other] * 50], 170))
        drive(scheduler, ring)
    ring.steps.clear()
    again = sequence([*first.tokens, 7, 8, 9], 180)
    scheduler.add(again)
    drive(scheduler, ring)
    assert num_prefilled(ring) == 4
    assert again.tokens == expected_reply([*first.tokens, 7, 8, 9], 180)


def test_without_a_free_row_a_conversation_takes_the_row_it_shares_most_with() -> None:
    scheduler = Scheduler(limits(num_stages=1, num_rows=1))
    ring, system = CheckingRing(scheduler.limits), list(range(3, 103))
    for other in range(2):
        ring.steps.clear()
        scheduler.add(sequence([*system, *[300 + other] * 50], 170))
        drive(scheduler, ring)
    assert num_prefilled(ring) == 50


def test_conversations_one_after_the_other_use_the_rows_of_all_lanes() -> None:
    scheduler = Scheduler(limits(num_stages=3, num_rows=6))
    ring = CheckingRing(scheduler.limits)
    asked = [sequence([100 * i + j for j in range(50)], 60) for i in range(1, 7)]
    for each in asked:
        scheduler.add(each)
        drive(scheduler, ring)
    ring.steps.clear()
    for each in asked:
        scheduler.add(sequence([*each.tokens, 7, 8], 70))
        drive(scheduler, ring)
    assert num_prefilled(ring) == 6 * 3


def test_requests_are_admitted_in_the_order_of_arrival() -> None:
    scheduler = Scheduler(limits(num_stages=1, num_rows=1))
    asked = [sequence([i], 5) for i in range(4)]
    for each in asked:
        scheduler.add(each)
    ring = CheckingRing(scheduler.limits)
    drive(scheduler, ring)
    order = [p.sequences[0] for p in ring.steps if p.kind.is_chunk]
    assert order == asked


def test_an_eos_token_ends_a_sequence() -> None:
    scheduler, one = Scheduler(limits()), sequence([1, 2, 3], 100)
    one.eos_ids = frozenset(range(3, 100))
    scheduler.add(one)
    drive(scheduler, CheckingRing(scheduler.limits))
    assert one.finish is Finish.STOP
    assert one.num_completion_tokens == 1


def test_a_full_cache_preempts_the_latest_and_all_still_finish() -> None:
    scheduler = Scheduler(limits(num_stages=1, num_rows=4, budget_tokens=256))
    asked = [(sequence([i] * 60, 200), [i] * 60) for i in range(4)]
    for each, _ in asked:
        scheduler.add(each)
    drive(scheduler, CheckingRing(scheduler.limits))
    assert scheduler.counters.preemptions > 0
    assert asked[0][0].preemptions == 0
    assert all(each.tokens == expected_reply(prompt, 200) for each, prompt in asked)


@pytest.mark.parametrize("num_stages", [1, 3])
def test_guesses_bring_the_same_tokens_in_fewer_steps(num_stages: int) -> None:
    prompt, steps = [5, 6, 7, 8] * 5, {}
    for is_guessing in (False, True):
        scheduler = Scheduler(limits(num_stages=num_stages, is_guessing=is_guessing))
        ring, one = CheckingRing(scheduler.limits, next_token_in_phrases), sequence(prompt, 300)
        scheduler.add(one)
        drive(scheduler, ring)
        assert one.tokens == expected_reply(prompt, 300, next_token_in_phrases)
        steps[is_guessing] = len(ring.steps)
    assert steps[True] < 0.7 * steps[False]
    counted = scheduler.counters.guessed_tokens, scheduler.counters.true_tokens
    assert counted == (ring.guessed, ring.came_true)
    assert 0 < ring.came_true < ring.guessed


def test_rows_that_share_a_lane_carry_no_guesses() -> None:
    scheduler = Scheduler(limits(num_stages=1, num_rows=2, is_guessing=True))
    ring, asked = CheckingRing(scheduler.limits, lambda tokens: 9), []
    for _ in range(2):
        asked.append(sequence([9] * 20, 60))
        scheduler.add(asked[-1])
    drive(scheduler, ring)
    assert all(len(p.ids) == 1 for p in ring.steps if p.kind is StepKind.VERIFY)
    assert any(len(p.ids) == 2 for p in ring.steps)
    assert all(each.tokens == [9] * 60 for each in asked)


def test_an_eos_token_among_the_guesses_ends_the_reply_there() -> None:
    prompt = [*range(20, 40), 2, *range(20, 26)]
    scheduler = Scheduler(limits(is_guessing=True))
    ring = CheckingRing(scheduler.limits, lambda tokens: prompt[len(tokens) - 21])
    one = sequence(prompt, 100)
    one.eos_ids = frozenset({2})
    scheduler.add(one)
    drive(scheduler, ring)
    assert ring.came_true > 5
    assert one.tokens == [*prompt, *range(26, 40), 2]
    assert one.finish is Finish.STOP

    ring.steps.clear()
    ring.next_token = lambda tokens: 9
    scheduler.add(sequence([*one.tokens, 8, 8, 8], 60))
    drive(scheduler, ring)
    assert ring.steps[0].positions[0] >= 39, "guesses that came true are cached as others are"


def test_a_stop_ends_a_sequence_behind_the_token_that_met_it() -> None:
    scheduler = Scheduler(limits(is_guessing=True))
    ring, one = CheckingRing(scheduler.limits, lambda tokens: 9), sequence([9] * 20, 200)
    scheduler.add(one)
    while True:
        for plan in scheduler.schedule():
            ring.send(plan)
        emissions = scheduler.complete(*ring.answer())
        if len(emissions) > 2:
            break
    assert [emission.index for emission in emissions] == list(range(len(emissions)))
    assert [emission.is_newest for emission in emissions[-2:]] == [False, True]
    scheduler.stop(one, emissions[1].num_tokens)
    assert emissions[1].is_newest
    assert one.finish is Finish.STOP
    drive(scheduler, ring)
    assert len(one.tokens) == emissions[1].num_tokens


def test_a_prompts_cached_tokens_are_counted_once_whatever_becomes_of_it() -> None:
    scheduler, prompt = Scheduler(limits(num_stages=1, num_rows=2)), list(range(40))
    first, again = sequence(prompt, 44), sequence(prompt, 44)
    ring = CheckingRing(scheduler.limits)
    scheduler.add(first)
    drive(scheduler, ring)
    scheduler.add(again)
    assert any(scheduler.schedule())
    assert (first.num_cached, again.num_cached) == (0, 38)  # two or more are read together
    scheduler.reset()
    assert again.preemptions and again.num_cached == 38

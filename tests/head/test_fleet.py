"""The fleet over real schedulers: no request is lost, starves or gets other tokens."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from random import Random

import pytest
from bramble.errors import QueueFull, Unavailable
from bramble.head.fleet import Fleet
from bramble.head.scheduler import Scheduler
from bramble.head.sequence import Sequence, State
from bramble.wire.messages import Finish
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.head import test_scheduler
from tests.head.test_scheduler import CheckingRing, expected_reply, limits, sequence


@dataclass
class StandIn:
    """A served ring whose stages are a CheckingRing; `is_serving` is set by the test."""

    arrivals: Iterator[int]
    num_rows: int = 4
    budget_tokens: int = 4096
    max_length: int | None = 4096
    is_serving: bool = True
    reason: str | None = None
    is_hopeless: bool = False
    has_failed: bool = False
    scheduler: Scheduler = field(init=False)
    stages: CheckingRing = field(init=False)

    def __post_init__(self) -> None:
        made = limits(num_stages=2, num_rows=self.num_rows, budget_tokens=self.budget_tokens)
        self.scheduler = Scheduler(made, arrivals=self.arrivals)
        self.stages = CheckingRing(made)

    def is_given_up(self, now: float) -> bool:
        return self.is_hopeless or self.has_failed

    def is_down_for_long(self, now: float) -> bool:
        return self.is_hopeless

    def pump(self, now: float) -> None:
        if self.is_serving:
            for plan in self.scheduler.schedule():
                self.stages.send(plan)

    def answer(self) -> None:
        if self.is_serving and self.stages.under_way:
            self.scheduler.complete(*self.stages.answer())

    def fail(self) -> None:
        self.is_serving = False
        self.scheduler.reset()
        self.stages.under_way.clear()
        self.stages.rows.clear()


def fleet(num_rings: int, max_queue: int = 1000, **ring: int) -> tuple[Fleet, list[StandIn]]:
    arrivals = count(1)
    rings = [StandIn(arrivals, **ring) for _ in range(num_rings)]
    return Fleet(rings, max_queue), rings


def drive(one: Fleet, rings: list[StandIn]) -> None:
    for _ in range(10_000):
        one.pump(0.0)
        if not any(ring.stages.under_way for ring in rings):
            return
        for ring in rings:
            ring.answer()
    raise AssertionError("the fleet does not come to an end")


@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(1, 4), st.booleans())
@example(67, 2, True)  # a preempted request moves while a step of its life before is under way
def test_whatever_rings_fail_every_request_ends_with_the_tokens_of_one_process(
    seed: int, num_rings: int, is_tight: bool
) -> None:
    random = Random(seed)
    one, rings = fleet(num_rings, budget_tokens=256 if is_tight else 4096)
    asked: list[tuple[Sequence, list[int]]] = []
    for _ in range(150):
        event = random.random()
        if event < 0.2:
            prompt = [random.randrange(3, 99) for _ in range(random.randrange(1, 60))]
            asked.append((sequence(prompt, len(prompt) + random.randrange(1, 40)), prompt))
            one.add(asked[-1][0])
        elif event < 0.23 and asked:
            one.finish(random.choice(asked)[0], Finish.CANCELLED)
        elif event < 0.27:
            random.choice(rings).fail()
        elif event < 0.35:
            random.choice(rings).is_serving = True
        one.pump(0.0)
        for ring in rings:
            ring.answer()
    for ring in rings:
        ring.is_serving = True
    drive(one, rings)
    for each, prompt in asked:
        assert each.state is State.FINISHED
        reply = expected_reply(prompt, each.max_tokens)
        assert each.tokens == (reply if each.finish is Finish.LENGTH else reply[: len(each.tokens)])


def test_a_step_under_way_at_the_ring_that_a_sequence_has_left_finds_nobody() -> None:
    left = Scheduler(limits(num_stages=2, num_rows=2, budget_tokens=128))
    prompts = [[i + 3] * 50 for i in range(2)]
    stays, moves = (sequence(prompt, 90) for prompt in prompts)
    left.add(stays)
    left.add(moves)
    ring = CheckingRing(left.limits)
    while not moves.preemptions:  # until one of the two has no room any more
        for plan in left.schedule():
            ring.send(plan)
        if not moves.preemptions:
            left.complete(*ring.answer())
    assert any(moves in plan.sequences for plan in ring.under_way)

    left.withdraw(moves)
    taken = Scheduler(limits())
    taken.add(sequence([3], 9))
    taken.adopt(moves)
    other = CheckingRing(taken.limits)
    for plan in taken.schedule():
        other.send(plan)
    for scheduler, stages in ((left, ring), (taken, other)):
        test_scheduler.drive(scheduler, stages)
    replies = [expected_reply(prompt, 90) for prompt in prompts]
    assert [stays.tokens, moves.tokens] == replies


def test_nobody_waits_while_another_ring_has_a_free_row() -> None:
    one, rings = fleet(2, num_rows=2)
    rings[1].fail()
    for i in range(4):
        one.add(sequence([i, i], 100))
    one.pump(0.0)
    assert [len(ring.scheduler.waiting) for ring in rings] == [2, 0]
    rings[1].is_serving = True
    one.pump(0.0)
    assert [len(ring.scheduler.running) for ring in rings] == [2, 2]


def test_requests_of_a_lost_ring_go_before_those_that_came_later() -> None:
    one, rings = fleet(2, num_rows=2)
    asked = [sequence([i, i], 100) for i in range(8)]
    for each in asked:
        one.add(each)
        one.pump(0.0)
    lost = [each for each in asked if each.ring == 1]
    assert len(lost) == 4
    rings[1].fail()
    one.pump(0.0)
    waiting = list(rings[0].scheduler.waiting)
    assert set(lost) < set(waiting)
    assert waiting == sorted(waiting, key=asked.index)


def test_the_next_turn_goes_to_the_ring_that_has_the_first() -> None:
    one, rings = fleet(2)
    first = [sequence([i] * 100, 120) for i in range(2)]
    for each in first:
        one.add(each)
    drive(one, rings)
    assert [each.ring for each in first] == [0, 1]
    second = sequence([*first[1].tokens, 7, 8], 140)
    one.add(second)
    assert second.ring == 1


def test_a_request_that_is_too_long_for_a_ring_does_not_go_there() -> None:
    one, rings = fleet(2)
    rings[1].max_length = 50
    asked = [sequence([i, i], 100) for i in range(6)]
    for each in asked:
        one.add(each)
    rings[0].fail()
    one.pump(0.0)
    assert {each.ring for each in asked} == {0}
    rings[0].max_length = 50
    with pytest.raises(Unavailable, match="the context has just become smaller"):
        one.add(sequence([1], 100))


def test_what_a_ring_has_become_too_short_for_moves_and_holds_nobody_up() -> None:
    one, rings = fleet(2, num_rows=2)
    rings[1].fail()
    running = [sequence([i, i], 40) for i in range(2)]
    long, short = sequence([7, 7], 100), sequence([8, 8], 40)
    for each in (*running, long, short):
        one.add(each)
        one.pump(0.0)
    rings[0].max_length = 50
    rings[1].is_serving = True
    drive(one, rings)
    assert long.ring == 1 and all(each.state is State.FINISHED for each in (*running, long, short))


def test_a_request_is_lost_only_if_no_ring_can_run_it() -> None:
    one, rings = fleet(2)
    request = sequence([1, 2], 100)
    one.add(request)
    rings[0].is_hopeless = True
    assert not one.is_lost(request, 0.0)
    rings[1].max_length = 50
    assert one.is_lost(request, 0.0)
    assert not one.is_given_up(0.0)


def test_a_request_that_was_accepted_waits_for_a_ring_that_failed_to_be_put_right() -> None:
    one, rings = fleet(1)
    request = sequence([1, 2], 100)
    one.add(request)
    rings[0].has_failed = True
    assert one.is_given_up(0.0), "newcomers are told at once"
    assert not one.is_lost(request, 0.0)
    rings[0].is_hopeless = True
    assert one.is_lost(request, 0.0)


def test_a_request_is_lost_at_a_ring_that_came_back_with_a_shorter_context() -> None:
    one, rings = fleet(1)
    request = sequence([1, 2], 100)
    one.add(request)
    assert not one.is_lost(request, 0.0)
    rings[0].max_length = 50
    assert one.is_lost(request, 0.0)


def test_the_queue_is_one_for_all_rings() -> None:
    one, _ = fleet(2, max_queue=3)
    for i in range(3):
        one.add(sequence([i], 9))
    with pytest.raises(QueueFull, match="3 requests are waiting already, at most 3 may"):
        one.add(sequence([1], 9))


def test_what_was_accepted_before_is_never_refused_and_goes_before_newcomers() -> None:
    before, _ = fleet(1)
    accepted = [sequence([i, i], 100) for i in range(8)]
    for each in accepted:
        before.add(each)
    after, rings = fleet(1, max_queue=2)
    rings[0].scheduler.arrivals = count(1000)
    newcomers = [sequence([i, i], 100) for i in range(50, 52)]
    for each in newcomers:
        after.add(each)
    back = [sequence(each.tokens, 100) for each in accepted]
    for each, once in zip(reversed(back), reversed(accepted), strict=True):
        each.arrival = once.arrival
        after.add(each)
    assert list(rings[0].scheduler.waiting) == back + newcomers
    with pytest.raises(QueueFull):
        after.add(sequence([9], 100))


def test_nobody_gets_a_place_behind_the_present_nor_more_places_than_there_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bramble.head.fleet.MAX_RETURNING", 3)
    one, rings = fleet(1, max_queue=2)
    for _ in range(5):
        claims = sequence([7], 100)
        claims.arrival = 10**20
        one.add(claims)
    assert [each.arrival for each in rings[0].scheduler.waiting] == [1, 2, 3, 4, 5]
    with pytest.raises(QueueFull):
        one.add(claims)

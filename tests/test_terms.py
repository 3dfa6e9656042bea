"""Heads and stages over a network that delays, drops and cuts: no two heads ever serve at once.

A pure model: the real Candidacy and Allegiance, with clocks, wires and disks made here.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

import pytest
from bramble.head.candidacy import ASIDE_S, Candidacy
from bramble.stage.allegiance import Allegiance
from bramble.wire.terms import LEASE_S, PROMISE_S, Kept, Vow
from hypothesis import given, settings
from hypothesis import strategies as st

BEAT_S, TICK_S = 1.0, 0.25
DRIFT = 0.07  # of each clock; the promise is a fifth longer than the lease
HEALED_S = 40.0  # until one head has to serve for good
HANDED_OVER_S = 1.3  # by another head, once one has said that it gives the role up
TAKEN_OVER_S = 11.0  # by another head, once one has died; the rest of 15 s is for its rings


class Disk(Kept):
    """The file of a stage's term, in memory."""

    def __init__(self) -> None:
        self.kept = Vow()
        self.is_full = False

    def read(self) -> Vow:
        return replace(self.kept, is_free=self.kept.term == 0)

    def write(self, vow: Vow) -> None:
        if self.is_full:
            raise OSError("no space left on device")
        assert vow.term > self.kept.term
        self.kept = vow


@dataclass
class Clock:
    """A machine's clock: it runs a little fast or slow, and began at any time."""

    rate: float
    offset: float
    world: World

    def now(self) -> float:
        return self.offset + self.rate * self.world.now


@dataclass
class Stage:
    node: str
    clock: Clock
    disk: Disk = field(default_factory=Disk)
    life: int = 0

    def start(self) -> None:
        self.life += 1
        self.allegiance = Allegiance(self.disk, self.clock.now())


@dataclass
class Head:
    node: str
    clock: Clock
    world: World
    is_up: bool = False
    paused_until: float = 0.0
    life: int = 0
    inbox: list[Callable[[], None]] = field(default_factory=list)  # what came during a pause

    def start(self) -> None:
        self.is_up, self.paused_until, self.inbox = True, 0.0, []
        self.life += 1
        self.role = Candidacy(
            self.node,
            next(self.world.incarnations),
            self.world.candidates,
            tuple(self.world.stages),
            self.clock.now(),
        )

    def serves(self) -> list[tuple[str, ...]]:
        """The rings that it would answer with at this moment."""
        if not self.is_up:
            return []
        now = self.clock.now()
        if not self.role.leads(now):
            return []
        return [r for r in self.world.rings if all(self.role.has(stage, now) for stage in r)]


class World:
    """Nodes with heads, nodes with stages, and whatever lies between them."""

    def __init__(self, heads: int, rings: tuple[tuple[str, ...], ...], seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.rings = rings
        self.candidates = tuple(f"h{i}" for i in range(heads))
        self.incarnations = count(1)
        self.cut: set[tuple[str, str]] = set()  # (from, to) over which nothing gets
        self.delay_s = 0.02
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.stages = {n: Stage(n, self._clock()) for ring in rings for n in ring}
        self.heads = {n: Head(n, self._clock(), self) for n in self.candidates}
        self.terms = dict.fromkeys(self.stages, 0)
        for stage in self.stages.values():
            stage.start()
            self.at(self.random.random(), lambda stage=stage: self._beats(stage))
        for head in self.heads.values():
            head.start()
            self.at(self.random.random(), lambda head=head: self._ticks(head))

    def at(self, delay_s: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay_s, next(self._order), event))

    def run(self, seconds: float) -> None:
        stop = self.now + seconds
        while self._events and self._events[0][0] <= stop:
            self.now, _, event = heapq.heappop(self._events)
            event()
            self._check()
        self.now = stop

    def serving(self) -> dict[str, list[tuple[str, ...]]]:
        return {name: rings for name, head in self.heads.items() if (rings := head.serves())}

    def _check(self) -> None:
        assert len(self.serving()) <= 1, f"{self.serving()} at {self.now}"
        for name, stage in self.stages.items():
            assert stage.allegiance.term >= self.terms[name], "a term fell"
            self.terms[name] = stage.allegiance.term

    # ----------------------------------------------------------------------------------- messages

    def _clock(self) -> Clock:
        rate = self.random.uniform(1 - DRIFT, 1 + DRIFT)
        return Clock(rate, self.random.uniform(0, 1e5), self)

    def _send(self, source: str, target: str, event: Callable[[], None]) -> None:
        """Have it arrive later, out of order even, unless the way is cut when it would."""
        delay_s = self.random.expovariate(1 / self.delay_s)
        self.at(delay_s, lambda: None if (source, target) in self.cut else event())

    def _beats(self, stage: Stage) -> None:
        for head in self.heads.values():
            self._vow(stage, head)
        self.at(BEAT_S, lambda: self._beats(stage))

    def _vow(self, stage: Stage, head: Head) -> None:
        vow = stage.allegiance.vow(stage.clock.now())
        arrive = partial(self._arrive, head, partial(self._hear, head, stage, vow))
        self._send(stage.node, head.node, arrive)

    def _arrive(self, head: Head, event: Callable[[], None]) -> None:
        if head.is_up and self.now < head.paused_until:
            head.inbox.append(event)
        elif head.is_up:
            event()

    def _hear(self, head: Head, stage: Stage, vow: Vow) -> None:
        if head.role.hear(stage.node, vow, head.clock.now()):
            for each in self.stages.values():
                self._claim(head, each)
        else:
            self._claim(head, stage)

    def _claim(self, head: Head, stage: Stage) -> None:
        claim = head.role.claim(stage.node, head.clock.now())
        if claim is None:
            return
        life, incarnation, stage_life = head.life, head.role._incarnation, stage.life

        def arrive() -> None:
            if stage.life != stage_life:  # the connection was another process's
                return
            now = stage.clock.now()
            if stage.allegiance.hear(head.node, incarnation, claim, now):
                for each in self.heads.values():
                    self._vow(stage, each)

        assert life == head.life
        self._send(head.node, stage.node, arrive)

    def _ticks(self, head: Head) -> None:
        if head.is_up and self.now >= head.paused_until:
            for event in head.inbox:
                event()
            head.inbox.clear()
            if head.role.tick(head.clock.now()):
                for stage in self.stages.values():
                    self._claim(head, stage)
        self.at(TICK_S, lambda: self._ticks(head))

    def hand_over(self, head: Head) -> None:
        """As a head does that is told to end."""
        head.role.hand_over(head.clock.now())
        for stage in self.stages.values():
            self._claim(head, stage)

    # ------------------------------------------------------------------------------------- faults

    def fault(self) -> None:
        """Do one thing that happens to machines, and undo some of what happened before."""
        head = self.random.choice(list(self.heads.values()))
        stage = self.random.choice(list(self.stages.values()))
        nodes = [*self.heads, *self.stages]
        match self.random.randrange(9):
            case 0:
                head.is_up = False
            case 1:
                head.start()
            case 2:
                head.paused_until = self.now + self.random.uniform(0, 30)
            case 3:
                stage.start()
            case 4:  # one way between two nodes
                self.cut.add((self.random.choice(nodes), self.random.choice(nodes)))
            case 5:  # the network falls into two
                side = {node for node in nodes if self.random.random() < 0.5}
                self.cut |= {(a, b) for a in nodes for b in nodes if (a in side) != (b in side)}
            case 6:
                self.cut.clear()
            case 7:
                self.delay_s = self.random.choice([0.001, 0.02, 0.5, 3.0])
            case 8:
                stage.disk.is_full = not stage.disk.is_full
        if self.random.random() < 0.1 and head.is_up:
            self.hand_over(head)

    def heal(self) -> None:
        self.cut.clear()
        self.delay_s = 0.02
        for head in self.heads.values():
            head.paused_until = 0.0
            if not head.is_up:
                head.start()
        for stage in self.stages.values():
            stage.disk.is_full = False


RINGS = {
    "one ring of three": (("s0", "s1", "s2"),),
    "two rings of one": (("s0",), ("s1",)),
    "rings of two and of one": (("s0", "s1"), ("s2",)),
}


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 3),
    st.sampled_from(list(RINGS)),
    st.integers(0, 2**32),
    st.lists(st.floats(0, 12), max_size=30),
)
def test_two_heads_never_serve_at_once_and_one_serves_in_the_end(
    heads: int, rings: str, seed: int, pauses: list[float]
) -> None:
    world = World(heads, RINGS[rings], seed)
    for pause in pauses:
        world.run(pause)
        world.fault()
    world.heal()
    world.run(HEALED_S)
    (before,) = world.serving().items()
    assert sorted(before[1]) == sorted(world.rings)
    term = world.heads[before[0]].role.term
    world.run(HEALED_S)
    assert dict([before]) == world.serving()
    assert world.heads[before[0]].role.term == term


@pytest.mark.parametrize("rings", RINGS)
def test_the_first_candidate_has_the_role_and_the_next_one_takes_it_over(rings: str) -> None:
    for seed in range(20):
        world = World(2, RINGS[rings], seed)
        world.run(5)
        assert list(world.serving()) == ["h0"]
        world.heads["h0"].is_up = False
        world.run(TAKEN_OVER_S)
        assert list(world.serving()) == ["h1"]


def test_a_head_that_comes_back_leaves_the_role_where_it_is() -> None:
    world = World(2, RINGS["one ring of three"], 1)
    world.run(5)
    world.heads["h0"].paused_until = world.now + 20
    world.run(20)
    assert list(world.serving()) == ["h1"]
    world.run(20)
    assert list(world.serving()) == ["h1"]
    told = "the head on h1 has the role (term 2), this one stands by"
    assert world.heads["h0"].role.standing_by == told


def test_a_head_that_restarts_has_its_stages_back_at_once() -> None:
    world = World(2, RINGS["one ring of three"], 1)
    world.run(5)
    world.heads["h0"].start()
    world.run(2)
    assert list(world.serving()) == ["h0"]


def test_a_head_that_sees_some_stages_only_disturbs_no_other() -> None:
    world = World(2, RINGS["rings of two and of one"], 1)
    world.run(5)
    world.cut = {("h0", "s2"), ("s2", "h0")}  # h1 sees all three
    world.run(30)
    assert world.serving() == {"h0": [("s0", "s1")]}


@pytest.mark.parametrize("rings", RINGS)
@pytest.mark.parametrize("heads", [2, 3])
def test_a_role_that_is_handed_over_is_the_next_ones_within_about_a_second(
    rings: str, heads: int
) -> None:
    for seed in range(20):
        world = World(heads, RINGS[rings], seed)
        world.delay_s = 0.001  # so that hardly any message overtakes another, as over TCP none does
        world.run(5)
        for former, successor in (("h0", "h1"), ("h1", "h0")):
            world.hand_over(world.heads[former])
            world.run(HANDED_OVER_S)
            assert list(world.serving()) == [successor]
            world.run(ASIDE_S)


def test_a_stage_that_has_restarted_refuses_the_terms_that_it_refused_before() -> None:
    world = World(2, RINGS["one ring of three"], 1)
    world.run(5)
    old = world.heads["h0"].role
    world.heads["h0"].paused_until = world.now + 20
    world.run(20)
    stage = world.stages["s0"]
    stage.start()
    claim = old.claim("s0", 0.0)
    assert claim is not None and claim.term == 1
    late = stage.clock.now() + 2 * PROMISE_S
    assert not stage.allegiance.hear("h0", 1, claim, late)
    assert stage.allegiance.vow(late).head == "h1"


def test_the_promise_outlives_the_lease_whatever_the_clocks_do() -> None:
    assert PROMISE_S * (1 - DRIFT) > LEASE_S * (1 + DRIFT)


def listen(node: str, nodes: tuple[str, ...], reached: tuple[str, ...]) -> Candidacy:
    """A candidate on one of several nodes, each with a stage, after six seconds of hearing some."""
    made = Candidacy(node, 1, nodes, nodes, 0.0)
    for beat in range(7):
        for stage in reached:
            made.hear(stage, Vow(), float(beat))
        made.tick(float(beat))
    return made


def test_of_two_nodes_that_part_the_first_named_one_may_lead_and_the_other_may_not() -> None:
    assert listen("a", ("a", "b"), ("a",)).term == 1
    assert listen("b", ("a", "b"), ("b",)).term == 0
    assert listen("b", ("a", "b"), ("a", "b")).term == 1  # the head on a has ended, its stage not


def test_of_three_nodes_any_two_may_have_a_head_and_none_alone_may() -> None:
    nodes = ("a", "b", "c")
    assert [listen(node, nodes, (node,)).term for node in nodes] == [0, 0, 0]
    assert listen("b", nodes, ("b", "c")).term == listen("c", nodes, ("a", "c")).term == 1

"""Whatever a stage says of itself, the head goes on, and can still tell how it is."""

from __future__ import annotations

import json
import logging
from collections import deque
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from bramble.config import HeadConfig
from bramble.head import status
from bramble.head.candidacy import Candidacy
from bramble.head.control import Control
from bramble.head.fleet import Fleet
from bramble.head.outcomes import Outcomes
from bramble.head.registry import Registry
from bramble.head.ring import Ring, Settings
from bramble.head.sequence import Sequence
from bramble.head.served_ring import ServedRing
from bramble.model.manifest import Golden
from bramble.wire import messages as m
from bramble.wire.frames import pack, unpack
from bramble.wire.terms import Vow
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.head.test_served_ring import Stage
from tests.plan.test_planner import manifest

NODES = ("a", "b")
nodes = st.sampled_from([*NODES, "c", ""])
numbers = st.sampled_from([-(2**70), -1, 0, 1, 2, 1 << 33, 1 << 62, 2**70])
texts = st.sampled_from(["", "ipc://a", "tcp://0.0.0.0:0", "x" * 300, "\u0000"])
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
figures = st.sampled_from(
    ["idle_s", "last_step", "resident_bytes", "busy", "temperature_c", "throttled", "fetching", "?"]
)
vows = st.none() | st.builds(
    Vow, numbers, nodes, st.sampled_from([0, 7, 8]), st.floats(-9.0, 99.0), st.booleans()
)
said = st.one_of(
    st.builds(m.Hello, nodes, st.sampled_from([1, 1, 2, -1]), texts, texts, numbers, texts, vows),
    st.builds(m.Beat, nodes, st.sampled_from([1, 1, 2]), st.dictionaries(figures, anything), vows),
    st.builds(
        m.Ready, nodes, st.just(1), st.just("?"), st.just(0), st.floats(-1e300, 1e300), numbers
    ),
    st.builds(m.Failed, nodes, st.just(1), st.just("?"), st.just(0), texts, numbers),
)


class Told:
    """The head's end of the control conversation; what it is told was packed and unpacked."""

    def __init__(self) -> None:
        self.told: deque[tuple[bytes, m.Message]] = deque()
        self.assigned: list[tuple[bytes, m.Assign]] = []
        self.said: list[m.Message] = []

    def receive(self) -> tuple[bytes, m.Message] | None:
        return self.told.popleft() if self.told else None

    def is_from(self, node: str) -> bool:
        return True

    def send(self, peer: bytes, message: m.Message) -> bool:
        pack(message)
        if isinstance(message, m.Assign):
            self.assigned.append((peer, message))
        self.said.append(message)
        return True


class Head:
    """A ring of two stages that play no part, or one of a group, and what the head tells of it."""

    def __init__(
        self,
        is_serving: bool,
        heads: tuple[str, ...] = (),
        *,
        is_group: bool = False,
        golden: Golden | None = None,
    ) -> None:
        stage, self.outcomes, self.router = Stage(), Outcomes(), Told()
        self.ring = Ring(
            replace(manifest(4), golden=golden),
            "sha",
            Registry((NODES,) if is_group else tuple((node,) for node in NODES)),
            Settings(4, 1024, "ipc://sampled"),
            1,
            stage.connect,
            stage.tell,
        )
        config = HeadConfig(Path(), stages=NODES)
        served = ServedRing(self.ring, config, count(1), lambda *_: None, 0.0)
        self.fleet = Fleet([served], 9)
        role = Candidacy("", 7, heads, NODES, 0.0)
        self.control = Control(self.router, self.fleet, 7, self.outcomes, role)
        if is_serving:
            self._serve()

    def _serve(self) -> None:
        """Have a step under way, which nobody answers."""
        for name in NODES:
            exchange = "tcp://a" if len(self.ring.registry.groups) == 1 else ""
            hello = m.Hello(name, 1, "ipc://a", "1", 8 << 30, "", exchange=exchange)
            self.ring.registry.hello(b"peer", hello, 0.0)
        self.fleet.rings[0].restart(0.0, "a test")
        assert self.ring.plan is not None
        for name in NODES:
            ready = m.Ready(name, 1, self.ring.plan.plan_id.hex(), self.ring.epoch, 0.1, 1)
            self.router.told.append((b"peer", ready))
        self.control.read(0.0)
        self.fleet.add(Sequence("r", [3, 4, 5], 3, 9))
        self.fleet.pump(0.0)

    def hear(self, message: m.Message, now: float, peer: bytes = b"peer") -> None:
        self.router.told.append((peer, unpack([bytes(frame) for frame in pack(message)])))
        self.control.read(now)
        self.fleet.pump(now)
        self.fleet.tick(now)
        json.dumps(status.document(self.fleet, self.outcomes, now, 0.0), allow_nan=False)
        status.sentence(self.fleet, now)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(said, st.floats(0, 30)), max_size=12), st.booleans())
def test_whatever_stages_say_the_head_goes_on(
    messages: list[tuple[m.Message, float]], is_serving: bool
) -> None:
    head, now = Head(is_serving), 0.0
    for message, pause in messages:
        now += pause
        plan = head.ring.plan
        if plan is not None and isinstance(message, m.Ready | m.Failed):  # as if of the epoch
            message = replace(message, plan_id=plan.plan_id.hex(), epoch=head.ring.epoch)
        head.hear(message, now)


def ready(head: Head, node: str) -> m.Ready:
    assert head.ring.plan is not None
    return m.Ready(node, 1, head.ring.plan.plan_id.hex(), head.ring.epoch, 0.1, 1)


def assigning() -> Head:
    """A head that both stages obey, and that has just assigned them anew."""
    head = Head(is_serving=True)
    for node in NODES:
        head.hear(m.Beat(node, 1), 0.5)
    head.fleet.rings[0].restart(1.0, "a test")
    head.router.assigned.clear()
    return head


def test_a_stage_whose_connection_broke_is_told_its_assignment_again() -> None:
    head = assigning()  # told to connections of which one is gone
    (one, _) = (entry.assign for entry in head.ring.registry.entries)
    head.hear(m.Beat("a", 1, {"epoch": head.ring.epoch - 1}), 1.5)
    assert not head.router.assigned, "it is on its way there"
    head.hear(m.Beat("a", 1), 2.0, peer=b"another")
    assert head.router.assigned == [(b"another", one)]
    head.hear(m.Hello("a", 1, "ipc://a", "1", 8 << 30, ""), 3.0, peer=b"a third")
    assert head.router.assigned[1:] == [(b"a third", one)]
    head.hear(m.Beat("a", 1), 4.0, peer=b"a third")
    assert len(head.router.assigned) == 2


def test_a_stage_whose_answer_was_lost_is_asked_for_it_again() -> None:
    head = assigning()
    head.hear(m.Beat("b", 1, {"epoch": head.ring.epoch}), 2.0)
    ((peer, again),) = head.router.assigned
    assert (peer, again.stage, again.epoch) == (b"peer", 1, head.ring.epoch)


def test_an_answer_that_comes_twice_does_not_begin_the_ring_anew() -> None:
    head = Head(is_serving=True)
    head.hear(ready(head, "a"), 1.0)
    assert head.fleet.rings[0].scheduler.counters.preemptions == 0


def failed(head: Head, reason: str, step: int = -1) -> m.Failed:
    assert head.ring.plan is not None
    return m.Failed("a", 1, head.ring.plan.plan_id.hex(), head.ring.epoch, reason, step)


def test_a_shard_that_is_dropped_over_a_file_begins_an_epoch_and_suspects_nobody() -> None:
    head = Head(is_serving=True)
    (sequence,) = head.fleet.rings[0].scheduler.running
    epoch = head.ring.epoch
    head.hear(failed(head, "layer-000.data has sha256 1, expected 2", step=0), 1.0)
    assert head.ring.epoch == epoch + 1 and head.ring.state == "loading"
    assert sequence.suspicion is None and sequence.deaths == 0


def test_why_a_golden_check_does_not_come_through_is_told_while_it_is_tried_again() -> None:
    head = Head(is_serving=True, is_group=True, golden=Golden((5, 6), (), (), ((1.0,) * 8,) * 5, 1))
    assert head.ring.state == "checking"
    head.hear(failed(head, "nothing came from rank 1 (b) for 20 s in an exchange", 0), 20.0)
    for name in NODES:
        head.hear(ready(head, name), 20.1)
    assert head.ring.state == "checking"
    assert head.ring.reason == (
        "the stage on a failed: nothing came from rank 1 (b) for 20 s in an exchange"
    )


@pytest.mark.parametrize(
    ("epochs_ago", "steps_ahead", "is_suspected"),
    [(0, 0, True), (0, 1, False), (1, 0, False)],
    ids=["over its step", "over another's", "before"],
)
def test_a_stage_that_starts_anew_suspects_only_the_step_that_it_ended_over(
    epochs_ago: int, steps_ahead: int, is_suspected: bool
) -> None:
    head = Head(is_serving=True)
    scheduler = head.fleet.rings[0].scheduler
    (sequence,), (step,) = scheduler.running, scheduler._under_way
    died_in = (head.ring.epoch - epochs_ago, step + steps_ahead)
    vow = Vow(9, "", 3, is_free=False)  # as it was kept on disk
    head.hear(m.Hello("a", 2, "ipc://a", "1", 8 << 30, "", vow, died_in), 1.0)
    assert head.ring.state == "waiting" and not scheduler._under_way
    assert (sequence.suspicion is not None, sequence.deaths) == (is_suspected, is_suspected)


def test_a_stage_that_ends_and_takes_the_quorum_along_leaves_suspects() -> None:
    """It is away for longer than its lease: the head stands still before it is back."""
    head, now = Head(is_serving=False, heads=("", "other")), 1.0

    def beat(*nodes: str) -> None:
        term = head.control._role.term
        vow = Vow(term, "", 7, now - 0.01, is_free=False) if term else Vow()
        for node in nodes:
            head.hear(m.Beat(node, 1, vow=vow), now)
            if head.ring.state == "loading":
                head.hear(ready(head, node), now)
        head.control.tick(now)
        head.fleet.pump(now)

    for node in NODES:
        head.hear(hello(node, Vow()), now)
    while head.ring.state != "serving":
        now += 0.5
        assert now < 20
        beat(*NODES)
    sequence = Sequence("r", [3, 4, 5], 3, 9)
    head.fleet.add(sequence)
    head.fleet.pump(now)
    while head.ring.state == "serving":
        now += 0.5
        assert now < 40
        beat("b")
    assert sequence.deaths == 1 and sequence.suspicion is not None


def test_who_says_hello_again_once_it_obeys_has_the_ring_begin() -> None:
    head = Head(is_serving=False)
    for node in NODES:
        head.hear(hello(node, Vow()), 1.0)
    term = head.control._role.term
    for node in NODES:  # the head was held up, and missed that they connected anew
        head.hear(hello(node, Vow(term, "", 7, 1.0, is_free=False)), 12.0)
    assert head.ring.state == "loading"


def test_a_stage_that_does_not_know_what_it_ended_over_suspects_all_that_was_on_its_way() -> None:
    head = Head(is_serving=True)
    (sequence,) = head.fleet.rings[0].scheduler.running
    head.hear(m.Hello("a", 2, "ipc://a", "1", 8 << 30, ""), 1.0)
    assert sequence.suspicion is not None and sequence.deaths == 1


def test_however_often_a_stage_is_killed_while_it_computes_nothing_nobody_is_to_blame() -> None:
    head = Head(is_serving=True)
    (sequence,) = head.fleet.rings[0].scheduler.running
    for life in range(2, 30):
        head.hear(m.Hello("a", life, "ipc://a", "1", 8 << 30, "", died_in=(-1, -1)), float(life))
        head.hear(m.Beat("b", 1), float(life))
    assert sequence.problem is None and sequence.deaths == 0


def test_a_shard_that_cannot_be_loaded_is_tried_every_few_seconds_and_told_rarely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    head, epochs = Head(is_serving=True), set()
    head.fleet.rings[0].restart(0.0, "a test")
    for second in range(600):
        if head.ring.state == "loading":
            if second % 2:
                head.hear(replace(failed(head, "no such file"), node="b"), float(second))
            head.hear(failed(head, "disk full"), float(second))
        head.fleet.tick(float(second))
        head.hear(m.Beat("a", 1), float(second))
        head.hear(m.Beat("b", 1), float(second))
        epochs.add(head.ring.epoch)
    assert len(epochs) > 100
    told = [each for each in caplog.records if each.name.startswith("bramble.head")]
    assert len(told) < 30
    assert "(a): disk full' times=" in caplog.text


def test_a_damaged_file_that_does_not_serve_is_told_with_what_to_do() -> None:
    head = Head(is_serving=True)
    head.hear(m.Beat("a", 1, {"damaged": "DAMAGED: layer-000.data is missing"}), 1.0)
    document = status.document(head.fleet, head.outcomes, 1.0, 0.0)
    ((trouble,), none) = (each["troubles"] for each in document["plan"]["rings"][0]["stages"])
    assert trouble["level"] == "warning" and trouble["sentence"].endswith("is missing")
    assert "bramble doctor" in trouble["advice"] and not none


def test_the_status_document_says_which_export_is_served_and_how_large_it_is() -> None:
    head = Head(is_serving=True)
    model = status.document(head.fleet, head.outcomes, 1.0, 0.0)["model"]
    assert model["export"] == head.ring.manifest_sha256
    assert model["bytes"] == sum(file.bytes for file in head.ring.manifest.files.values())


@pytest.mark.parametrize("figure", ["long", None, [], {"s": 9}, 2**70, True])
def test_figures_that_are_none_are_passed_over(figure: object) -> None:
    head = Head(is_serving=True)
    names = ("idle_s", "last_step", "busy", "resident_bytes", "throttled", "threads")
    for name in NODES:
        head.hear(m.Beat(name, 1, dict.fromkeys(names, figure)), 6.0)
    assert head.ring.registry.is_complete


def hello(node: str, vow: Vow | None) -> m.Hello:
    return m.Hello(node, 1, "ipc://a", "1", 8 << 30, "", vow)


def test_a_lone_head_takes_a_higher_term_than_its_stages_know_and_begins_once_all_obey() -> None:
    head = Head(is_serving=False)
    for node, term in zip(NODES, (4, 9), strict=True):
        head.hear(hello(node, Vow(term, "old", 3, is_free=False)), 1.0)
    assert head.ring.reason == (
        "stage 0 (a): obeys the head on old (term 4); stage 1 (b): obeys the head on old (term 9)"
    )
    beats = [said for said in head.router.said if isinstance(said, m.Beat)]
    assert max(beat.claim.term for beat in beats if beat.claim is not None) == 10
    for node in NODES:
        assert head.ring.state == "waiting"
        head.hear(m.Beat(node, 1, vow=Vow(10, "x", 7, 1.0, is_free=False)), 1.1)
    assert (head.ring.state, head.ring.epoch >> 16) == ("loading", 10)


def test_stages_of_a_release_without_vows_obey_a_lone_head() -> None:
    head = Head(is_serving=False)
    for node in NODES:
        head.hear(hello(node, None), 1.0)
    assert head.ring.state == "loading"


def test_one_head_of_two_leads_only_while_its_claims_come_back() -> None:
    head = Head(is_serving=False, heads=("", "other"))
    for node in NODES:
        head.hear(hello(node, Vow()), 0.9)
    assert head.ring.state == "waiting"  # nobody has vowed anything

    def beat(now: float, vow: Vow) -> None:
        for node in NODES:
            head.hear(m.Beat(node, 1, vow=vow), now)
        head.control.tick(now)
        head.control.follow(now)

    for now in (1.0, 1.6, 2.2):
        beat(now, Vow())
    beat(2.3, Vow(1, "", 7, 2.2, is_free=False))
    assert head.ring.state == "loading"
    head.control.follow(7.1)
    assert head.ring.state == "loading"
    head.control.follow(7.3)
    assert head.ring.state == "waiting"
    assert head.ring.reason == (
        "stage 0 (a): has not confirmed that it obeys this head; "
        "stage 1 (b): has not confirmed that it obeys this head"
    )
    beat(8.0, Vow(2, "other", 8, 1.0, is_free=False))
    assert head.fleet.reason == "the head on other has the role (term 2), this one stands by"
    assert head.fleet.is_given_up(8.0)

"""Each member is told what it holds, whom it hears and whom it tells; keys are of one epoch."""

from dataclasses import replace

import bramble
import pytest
from bramble.errors import BadInput
from bramble.head.assignments import Epoch, assignments
from bramble.plan.planner import GIB, Node, Plan, plan_ring
from bramble.wire.messages import Hello, Member

from tests.plan.test_planner import manifest

EPOCH = Epoch(7, 1, Member("pi1", "tcp://head:7099"))


def hello_of(node: str) -> Hello:
    return Hello(node, 1, f"tcp://{node}:1", "1", GIB, "aarch64", exchange=f"tcp://{node}:2")


def planned(*stages: str) -> Plan:
    groups = [tuple(Node(name, 8 * GIB) for name in stage.split("+")) for stage in stages]
    return plan_ring(manifest(6), "sha", groups, 16, 1024)


def test_a_ring_of_single_nodes_is_a_chain_from_the_head_and_back() -> None:
    first, middle, last = assignments(planned("a", "b", "c"), EPOCH, hello_of)
    assert [each.previous_node for each in (first, middle, last)] == ["pi1", "a", "b"]
    assert [each.next for each in (first, middle, last)] == [
        (Member("b", "tcp://b:1"),),
        (Member("c", "tcp://c:1"),),
        (EPOCH.head,),
    ]
    assert (last.first_node, last.first_endpoint, first.last_node) == ("a", "tcp://a:1", "c")
    assert not any(each.group or each.exchange_key for each in (first, middle, last))


def test_rank_0_alone_sends_and_to_all_members_of_the_next_stage() -> None:
    a, b, c, d = assignments(planned("a+b", "c+d"), EPOCH, hello_of)
    assert a.next == (Member("c", "tcp://c:1"), Member("d", "tcp://d:1"))
    assert c.next == (EPOCH.head,)
    assert b.next == d.next == ()
    assert [each.previous_node for each in (a, b, c, d)] == ["pi1", "pi1", "a", "a"]
    assert [(each.stage, each.rank) for each in (a, b, c, d)] == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_members_know_each_other_and_share_a_key_that_no_other_group_or_epoch_has() -> None:
    plan = planned("a+b", "c+d")
    a, b, c, d = assignments(plan, EPOCH, hello_of)
    assert a.group == b.group == (Member("a", "tcp://a:2"), Member("b", "tcp://b:2"))
    assert a.exchange_key == b.exchange_key != c.exchange_key == d.exchange_key
    assert len(bytes.fromhex(a.exchange_key)) == 32
    again = assignments(plan, replace(EPOCH, number=8), hello_of)
    assert again[0].exchange_key != a.exchange_key
    assert a.exchange_key not in repr(a)


@pytest.mark.parametrize("stages", [("a+b",), ("a+b", "c"), ("a+b", "c+d")])
def test_nothing_is_computed_ahead_where_the_first_stage_is_a_group(stages: tuple[str]) -> None:
    told = assignments(planned(*stages), EPOCH, hello_of)
    assert {(each.first_endpoint, each.last_node) for each in told} == {("", "")}


def test_the_first_stage_is_told_of_answers_by_rank_0_of_the_last() -> None:
    a, b, c = assignments(planned("a", "b+c"), EPOCH, hello_of)
    assert (a.last_node, b.first_node, c.first_node) == ("b", "a", "")


def test_all_members_of_a_stage_that_is_suspected_look_at_their_files() -> None:
    told = assignments(planned("a+b", "c"), replace(EPOCH, suspects=("a", "b")), hello_of)
    assert [each.is_suspect for each in told] == [True, True, False]


def test_a_member_of_a_release_that_cannot_exchange_is_named() -> None:
    def of_former(node: str) -> Hello:
        return replace(hello_of(node), exchange="" if node == "b" else "x", version="0.3.0")

    with pytest.raises(
        BadInput,
        match=r"b cannot serve a stage .* nobody, or .* too old \(0\.3\.0\); run site\.yml",
    ):
        assignments(planned("a+b"), EPOCH, of_former)
    assert len(assignments(planned("b", "a"), EPOCH, of_former)) == 2


def test_a_member_of_this_release_without_an_address_is_told_which_setting_it_lacks() -> None:
    def without(node: str) -> Hello:
        return replace(hello_of(node), exchange="", version=bramble.__version__)

    with pytest.raises(BadInput, match=r"a cannot serve a stage .* set its `exchange` to tcp://"):
        assignments(planned("a+b"), EPOCH, without)

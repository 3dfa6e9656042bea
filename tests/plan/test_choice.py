"""Rings are chosen by the objective; whatever it is, they hold the model and share no node."""

from dataclasses import replace

import pytest
from bramble.errors import BadInput
from bramble.plan.choice import PAYS, Choice, choose
from bramble.plan.cost import AARCH64, resident_bytes
from bramble.plan.devices import LINKS
from bramble.plan.groups import MAX_GROUPINGS, MAX_MEMBERS, group_sizes
from bramble.plan.pace import Link
from bramble.plan.planner import GIB, Node, plan_ring
from bramble.plan.rings import CAPACITY, LATENCY, OBJECTIVES, THROUGHPUT, Work
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.test_planner import MIB, manifest

WIFI = LINKS["wifi"]
SLOW = Link("by radio", 1e6, 0.02)  # for groups of anything
GIBIBYTES = st.lists(st.sampled_from([1.0, 2.0, 4.0, 8.0, 16.0]), min_size=1, max_size=5)


def nodes_of(gibibytes: list[float]) -> list[Node]:
    return [Node(f"pi-{i}", int(size * GIB)) for i, size in enumerate(gibibytes)]


def sizes(choice: Choice) -> list[list[int]]:
    """Of each ring the members of each stage."""
    return [[len(stage.members) for stage in plan.stages] for plan in choice.rings]


@settings(max_examples=50)
@given(GIBIBYTES, st.integers(4, 40), st.sampled_from(OBJECTIVES))
def test_each_ring_has_each_layer_once_and_no_node_is_in_two(
    gibibytes: list[float], num_layers: int, objective: str
) -> None:
    model, nodes = manifest(num_layers, 100 * MIB), nodes_of(gibibytes)
    try:
        choice = choose(model, "sha", nodes, objective)
    except BadInput:
        return
    for plan in choice.rings:
        layers = [i for stage in plan.stages for i in range(stage.start, stage.stop)]
        assert layers == list(range(num_layers))
        assert plan.stages[0].has_embed and plan.stages[-1].has_lm_head
    used = [member.node for plan in choice.rings for member in plan.members]
    assert sorted([*used, *choice.spare]) == [node.name for node in nodes]


@settings(max_examples=50)
@given(GIBIBYTES, st.integers(4, 40), st.sampled_from(OBJECTIVES))
def test_something_is_chosen_exactly_where_memory_suffices(
    gibibytes: list[float], num_layers: int, objective: str
) -> None:
    model, nodes = manifest(num_layers, 400 * MIB), nodes_of(gibibytes)
    try:
        choice = choose(model, "sha", nodes, objective)
    except BadInput:
        with pytest.raises(BadInput):
            plan_ring(model, "sha", nodes[:num_layers], 16, 8192)
        return
    memory = {node.name: node.memory_bytes for node in nodes}
    for plan in choice.rings:
        for member in plan.members:
            resident = resident_bytes(model, member.share, AARCH64)
            cache = plan.budget_tokens * member.share.kv_bytes_per_token(model.shape)
            assert resident + cache <= memory[member.node]


@settings(max_examples=50)
@given(GIBIBYTES, st.sampled_from([1.0, 2.0, 4.0, 8.0, 16.0]))
def test_one_more_node_is_never_slower_in_aggregate(gibibytes: list[float], more: float) -> None:
    model = manifest(16, 200 * MIB)
    try:
        before = choose(model, "sha", nodes_of(gibibytes), THROUGHPUT)
    except BadInput:
        return
    after = choose(model, "sha", nodes_of([*gibibytes, more]), THROUGHPUT)
    # Groups that are better by less than PAYS are not chosen.
    assert after.chosen.figures.aggregate >= 0.99 / PAYS * before.chosen.figures.aggregate


def test_throughput_makes_replicas_where_the_model_fits_one_node() -> None:
    choice = choose(manifest(16), "sha", nodes_of([8, 8, 8, 8]), THROUGHPUT, link=SLOW)
    assert sizes(choice) == [[1], [1], [1], [1]]
    assert "For throughput: 4 rings of 1 node (replicas), " in choice.reason
    assert "Instead of 1 ring of 4 nodes: " in choice.reason


def test_throughput_makes_two_rings_of_two_where_the_model_fits_two_of_four() -> None:
    choice = choose(manifest(16, 620 * MIB), "sha", nodes_of([8, 8, 8, 8]), THROUGHPUT, link=SLOW)
    assert sizes(choice) == [[1, 1], [1, 1]]


def test_capacity_makes_one_ring_whose_layers_go_by_memory() -> None:
    choice = choose(manifest(16), "sha", nodes_of([8, 8, 2]), CAPACITY)
    assert sizes(choice) == [[1, 1, 1]]
    (plan,) = choice.rings
    assert plan.stages[2].num_layers < plan.stages[0].num_layers


def test_latency_takes_the_ring_for_a_long_prompt_and_a_replica_for_a_short_one() -> None:
    model, nodes = manifest(16), nodes_of([8, 8, 8, 8])
    for prompt, wanted in ((2048, [[1, 1, 1, 1]]), (8, [[1], [1], [1], [1]])):
        assert sizes(choose(model, "sha", nodes, LATENCY, Work(prompt=prompt), link=WIFI)) == wanted


@pytest.mark.parametrize(("count", "wanted"), [(2, [[2]]), (3, [[3]]), (4, [[4]]), (8, [[4, 4]])])
def test_latency_makes_groups_of_up_to_four_where_the_cable_allows_it(
    count: int, wanted: list[list[int]]
) -> None:
    choice = choose(manifest(16, 400 * MIB), "sha", nodes_of([8] * count), LATENCY)
    assert sizes(choice) == wanted
    assert "A token of one reply takes " in choice.reason
    assert " ms to read weights, " in choice.reason and " ms for exchanges, " in choice.reason


def test_throughput_makes_groups_where_sharing_one_reading_of_the_weights_pays() -> None:
    choice = choose(manifest(16, 400 * MIB), "sha", nodes_of([16, 16]), THROUGHPUT, Work(rows=2))
    assert sizes(choice) == [[2]]
    assert "2 rings of 1 node (replicas): " in choice.reason


def test_a_network_that_is_too_slow_for_groups_is_told_with_the_figures() -> None:
    choice = choose(manifest(16), "sha", nodes_of([8, 8]), LATENCY, link=WIFI)
    assert not choice.chosen.has_groups
    assert "1 ring of a group of 2 nodes: a lone request of " in choice.reason
    assert "A token of one reply would take in 1 ring of a group of 2 nodes " in choice.reason


def test_a_model_that_cannot_be_divided_is_told_with_the_numbers() -> None:
    model = manifest(16)
    shape = replace(model.shape, num_heads=2, num_kv_heads=2)
    choice = choose(replace(model, shape=shape), "sha", nodes_of([8, 8, 8]), LATENCY)
    assert max(max(ring) for ring in sizes(choice)) == 2
    assert "Larger groups cannot be: a group of 3 members was asked for; the model has 2 query" in (
        choice.reason
    )


def test_unlike_boards_get_unlike_parts() -> None:
    nodes = [Node("fast", 8 * GIB, 1.0), Node("slow", 8 * GIB, 0.5)]
    (plan,) = choose(manifest(16), "sha", nodes, LATENCY).rings
    (stage,) = plan.stages
    fast, slow = stage.members
    assert fast.weight_bytes > 1.5 * slow.weight_bytes


def test_a_group_is_as_large_as_can_be_and_no_larger() -> None:
    assert group_sizes(1) == [(1,)]
    assert group_sizes(4) == [(1, 1, 1, 1), (2, 2), (4,)]
    assert group_sizes(5) == [(1,) * 5, (1, 2, 2), (2, 3)]
    assert group_sizes(7) == [(1,) * 7, (1, 2, 2, 2), (2, 2, 3), (3, 4)]
    for count in range(1, 33):
        for found in group_sizes(count):
            assert sum(found) == count and max(found) <= MAX_MEMBERS


def test_a_model_that_fits_no_ring_is_refused_with_the_numbers() -> None:
    with pytest.raises(BadInput, match=r"pi-0: layers 0–7 of m need .* add a node"):
        choose(manifest(16, 1000 * MIB), "sha", nodes_of([1, 1]), LATENCY)


def test_an_objective_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadInput, match="one of latency, throughput, capacity"):
        choose(manifest(16), "sha", nodes_of([8]), "speed")


def test_twenty_nodes_are_planned_by_a_bounded_number_of_candidates() -> None:
    for gibibytes in ([8] * 20, [8, 4] * 10):
        choice = choose(manifest(16), "sha", nodes_of(gibibytes), THROUGHPUT)
        assert len(choice.candidates) <= 2 * MAX_GROUPINGS
        assert len(choice.chosen.nodes) + len(choice.spare) == 20

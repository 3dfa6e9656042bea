"""Rings are chosen by the objective; whatever it is, they hold the model and share no node."""

import pytest
from bramble.errors import BadInput
from bramble.plan.choice import Choice, choose
from bramble.plan.cost import AARCH64, resident_bytes
from bramble.plan.planner import GIB, Node, plan_ring
from bramble.plan.rings import CAPACITY, LATENCY, OBJECTIVES, THROUGHPUT, Work
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.test_planner import MIB, manifest

GIBIBYTES = st.lists(st.sampled_from([1.0, 2.0, 4.0, 8.0, 16.0]), min_size=1, max_size=5)


def nodes_of(gibibytes: list[float]) -> list[Node]:
    return [Node(f"pi-{i}", int(size * GIB)) for i, size in enumerate(gibibytes)]


def sizes(choice: Choice) -> list[int]:
    return [len(plan.stages) for plan in choice.rings]


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
            cache = plan.budget_tokens * model.shape.kv_bytes_per_token(member.share.num_layers)
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
    # Figures within 1 % of each other count as equal.
    assert after.chosen.figures.aggregate >= 0.99 * before.chosen.figures.aggregate


def test_throughput_makes_replicas_where_the_model_fits_one_node() -> None:
    choice = choose(manifest(16), "sha", nodes_of([8, 8, 8, 8]), THROUGHPUT)
    assert sizes(choice) == [1, 1, 1, 1]
    assert "For throughput: 4 rings of 1 node (replicas), " in choice.reason
    assert "Instead of 1 ring of 4 nodes: " in choice.reason


def test_throughput_makes_two_rings_of_two_where_the_model_fits_two_of_four() -> None:
    choice = choose(manifest(16, 620 * MIB), "sha", nodes_of([8, 8, 8, 8]), THROUGHPUT)
    assert sizes(choice) == [2, 2]


def test_capacity_makes_one_ring_whose_layers_go_by_memory() -> None:
    choice = choose(manifest(16), "sha", nodes_of([8, 8, 2]), CAPACITY)
    assert sizes(choice) == [3]
    (plan,) = choice.rings
    assert plan.stages[2].num_layers < plan.stages[0].num_layers


def test_latency_takes_the_ring_for_a_long_prompt_and_a_replica_for_a_short_one() -> None:
    model, nodes = manifest(16), nodes_of([8, 8, 8, 8])
    assert sizes(choose(model, "sha", nodes, LATENCY, Work(prompt=2048))) == [4]
    assert sizes(choose(model, "sha", nodes, LATENCY, Work(prompt=8))) == [1, 1, 1, 1]


def test_a_model_that_fits_no_ring_is_refused_with_the_numbers() -> None:
    with pytest.raises(BadInput, match=r"pi-0: layers 0–7 of m need .* add a node"):
        choose(manifest(16, 1000 * MIB), "sha", nodes_of([1, 1]), LATENCY)


def test_an_objective_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BadInput, match="one of latency, throughput, capacity"):
        choose(manifest(16), "sha", nodes_of([8]), "speed")


def test_twenty_nodes_are_planned_in_little_time() -> None:
    choice = choose(manifest(16), "sha", nodes_of([8, 4] * 10), THROUGHPUT)
    assert len(choice.rings) == 20

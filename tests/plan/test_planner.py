"""Every layer is run exactly once, by a node that has room for it."""

from dataclasses import replace
from itertools import combinations, pairwise

import pytest
from bramble.errors import BadInput
from bramble.model.manifest import File, Golden, Manifest, Part, Quantization, Rope, Shape
from bramble.model.share import Share
from bramble.plan.cost import AARCH64, X86_64, resident_bytes
from bramble.plan.planner import GIB, Node, check_context, plan_ring
from hypothesis import given
from hypothesis import strategies as st

MIB = 1 << 20


def manifest(num_layers: int, layer_bytes: int = 40 * MIB, head_bytes: int = 160 * MIB) -> Manifest:
    names = ["embed", *(f"layer-{i:03d}" for i in range(num_layers)), "lm_head"]
    sizes = {"embed": head_bytes, "lm_head": head_bytes}
    files = {f"shards/{n}.data": File("", sizes.get(n, layer_bytes)) for n in names}
    files |= {f"shards/{n}.onnx": File("", 1000) for n in names}
    return Manifest(
        name="m",
        architecture="LlamaForCausalLM",
        num_parameters=1,
        shape=Shape(num_layers, 2048, 8192, 32, 8, 64, 128256, 131072),
        rope=Rope(10000.0, 64),
        quantization=Quantization("int4", "int4", "int4"),
        is_tied=False,
        eos_ids=(2,),
        bos_id=1,
        source={},
        defaults={},
        parts=tuple(Part(n, f"shards/{n}.onnx", (f"shards/{n}.data",)) for n in names),
        files=files,
    )


def resident(model: Manifest, start: int, stop: int, machine: str = AARCH64) -> int:
    """Bytes that a stage of these layers takes, and of the ends if they are its."""
    has_lm_head = stop == model.shape.num_layers
    share = Share.whole(model.shape, start, stop, start == 0, has_lm_head)
    return resident_bytes(model, share, machine)


@given(st.integers(1, 40), st.lists(st.floats(1, 16), min_size=1, max_size=8), st.data())
def test_each_layer_is_run_exactly_once_and_fits(
    num_layers: int, gibibytes: list[float], data: st.DataObject
) -> None:
    model = manifest(num_layers)
    nodes = [Node(f"pi-{i}", int(g * GIB)) for i, g in enumerate(gibibytes)]
    try:
        plan = plan_ring(model, "sha", nodes, rows=16, max_length=8192)
    except BadInput:
        return
    layers = [i for stage in plan.stages for i in range(stage.start, stage.stop)]
    assert layers == list(range(num_layers))
    assert [stage.name for stage in plan.stages] == [node.name for node in nodes]
    assert all(stage.num_layers >= 1 for stage in plan.stages)
    assert plan.stages[0].has_embed and plan.stages[-1].has_lm_head
    for stage, node in zip(plan.stages, nodes, strict=True):
        weights = resident_bytes(model, stage.members[0].share, node.machine)
        cache = plan.budget_tokens * model.shape.kv_bytes_per_token(stage.num_layers)
        assert weights + cache <= node.memory_bytes


@pytest.mark.parametrize(
    ("head_bytes", "num_stages", "layers"),
    [
        (160 * MIB, 2, [8, 8]),  # a lone prompt's way through the ring decides
        (160 * MIB, 3, [6, 6, 4]),  # of equals the one with the fewest layers beside the lm_head
        (900 * MIB, 2, [10, 6]),  # unless the lm_head is more than half of the model
    ],
)
def test_layers_are_split_for_prompts_first(
    head_bytes: int, num_stages: int, layers: list[int]
) -> None:
    nodes = [Node(f"pi-{i}", 8 * GIB) for i in range(num_stages)]
    plan = plan_ring(manifest(16, head_bytes=head_bytes), "sha", nodes, 16, 8192)
    assert [stage.num_layers for stage in plan.stages] == layers


def test_for_cache_a_split_that_holds_all_rows_stays() -> None:
    nodes = [Node("a", 4 * GIB), Node("b", 12 * GIB)]
    for max_length, layers in ((4096, [8, 8]), (1 << 17, [4, 12])):
        plan = plan_ring(manifest(16), "sha", nodes, 16, max_length, for_cache=True)
        assert [stage.num_layers for stage in plan.stages] == layers


@given(st.lists(st.floats(1, 4), min_size=2, max_size=3))
def test_for_cache_no_other_split_holds_more(gibibytes: list[float]) -> None:
    model = manifest(6, 100 * MIB)
    nodes = [Node(f"pi-{i}", int(g * GIB)) for i, g in enumerate(gibibytes)]
    best = 0.0
    for inner in combinations(range(1, 6), len(nodes) - 1):
        borders = [0, *inner, 6]
        best = max(
            best,
            min(
                (node.memory_bytes - resident(model, *ends))
                / model.shape.kv_bytes_per_token(ends[1] - ends[0])
                for node, ends in zip(nodes, pairwise(borders), strict=True)
            ),
        )
    plan = plan_ring(model, "sha", nodes, 1, 1 << 30, for_cache=True)
    assert plan.budget_tokens == pytest.approx(best, abs=1)


def test_memory_is_that_of_the_weights_as_the_nodes_processor_packs_them() -> None:
    model = manifest(16)
    assert resident(model, 0, 16, X86_64) > 1.2 * resident(model, 0, 16)
    room = resident(model, 0, 16) + 512 * model.shape.kv_bytes_per_token(16)
    plan_ring(model, "sha", [Node("pi", room)], 1, 512)
    with pytest.raises(BadInput, match="add a node"):
        plan_ring(model, "sha", [Node("pc", room, machine=X86_64)], 1, 512)


def test_a_small_node_gets_what_fits() -> None:
    nodes = [Node("small", 3 * GIB // 8), Node("large", 8 * GIB)]
    plan = plan_ring(manifest(16), "sha", nodes, 16, 8192)
    assert plan.stages[0].num_layers < plan.stages[1].num_layers


def test_a_model_that_cannot_fit_is_refused_with_the_numbers() -> None:
    with pytest.raises(BadInput, match=r"a: layers 0–15 of m need 0\.\d\d GiB .* add a node"):
        plan_ring(manifest(16), "sha", [Node("a", GIB * 7 // 8)], 16, 8192)


def test_a_context_that_the_golden_check_does_not_fit_into_is_refused() -> None:
    golden = Golden(tuple(range(24)), (), (), (), 0.25)
    model = replace(manifest(4), golden=golden)
    check_context(model, 24)
    with pytest.raises(BadInput, match="a context of 23 tokens was asked for; m needs 24 or more"):
        check_context(model, 23)


def test_more_nodes_than_layers_are_refused() -> None:
    nodes = [Node(f"pi-{i}", GIB) for i in range(5)]
    with pytest.raises(BadInput, match="takes 1 to 4 stages, got 5"):
        plan_ring(manifest(4), "sha", nodes, 16, 8192)


@given(
    st.lists(st.lists(st.floats(0.3, 4), min_size=1, max_size=5), min_size=1, max_size=4),
    st.booleans(),
)
def test_groups_hold_each_layer_once_and_each_member_has_room(
    gibibytes: list[list[float]], for_cache: bool
) -> None:
    model, names = manifest(12), iter(range(99))
    groups = [tuple(Node(f"pi-{next(names)}", int(g * GIB)) for g in group) for group in gibibytes]
    try:
        plan = plan_ring(model, "sha", groups, 16, 8192, for_cache=for_cache)
    except BadInput:
        return
    assert [stage.nodes for stage in plan.stages] == [tuple(n.name for n in g) for g in groups]
    assert [i for stage in plan.stages for i in range(stage.start, stage.stop)] == list(range(12))
    memory = {node.name: node.memory_bytes for group in groups for node in group}
    for stage in plan.stages:
        assert stage.members[-1].share.heads[1] == model.shape.num_heads
        for left, right in pairwise(member.share for member in stage.members):
            assert (left.start, left.stop, left.has_embed) == (
                right.start,
                right.stop,
                right.has_embed,
            )
            assert left.heads[1] == right.heads[0] and left.columns[1] == right.columns[0]
            assert left.has_lm_head == right.has_lm_head
    for member in plan.members:
        member.share.check(model.shape)
        cache = plan.budget_tokens * member.share.kv_bytes_per_token(model.shape)
        resident = resident_bytes(model, member.share, AARCH64)
        assert resident + cache <= memory[member.node]


def test_a_group_holds_what_none_of_its_members_does() -> None:
    nodes = [Node("a", 3 * GIB // 4), Node("b", 3 * GIB // 4)]
    with pytest.raises(BadInput, match="add a node"):
        plan_ring(manifest(16), "sha", nodes[:1], 16, 8192)
    (stage,) = plan_ring(manifest(16), "sha", [tuple(nodes)], 16, 8192).stages
    assert stage.name == "a+b"


def test_a_member_whose_part_does_not_fit_is_named_with_the_numbers() -> None:
    group = (Node("a", 2 * GIB), Node("b", GIB // 4))
    with pytest.raises(BadInput, match=r"b: its part of layers 0–15 of m need 0\.\d\d GiB"):
        plan_ring(manifest(16), "sha", [group], 16, 8192)


def test_a_group_gets_more_layers_than_a_board_alone() -> None:
    plan = plan_ring(manifest(15), "sha", [tuple(PAIR), Node("c", 8 * GIB)], 16, 8192)
    assert [stage.num_layers for stage in plan.stages] == [11, 4]


PAIR = [Node("a", 8 * GIB), Node("b", 8 * GIB)]


def test_the_plan_id_is_of_the_content() -> None:
    nodes = [Node("a", 8 * GIB), Node("b", 8 * GIB)]
    one, same = (plan_ring(manifest(16), "sha", nodes, 16, 8192).plan_id for _ in range(2))
    other = plan_ring(manifest(16), "other", nodes, 16, 8192).plan_id
    assert one == same != other and len(one) == 16


def test_a_model_whose_least_cache_fits_only_as_int8_is_planned_with_it() -> None:
    model = manifest(16)
    weights = resident(model, 0, 16)
    cache = 512 * model.shape.kv_bytes_per_token(16, "int8")
    nodes = [Node("a", int(weights + 2 * cache))]
    with pytest.raises(BadInput, match="add a node"):
        plan_ring(model, "sha", nodes, 16, 8192)
    assert plan_ring(model, "sha", nodes, 16, 8192, "int8").budget_tokens == 1024


def test_an_int8_cache_holds_four_times_the_tokens() -> None:
    model, nodes = manifest(16), [Node("a", 2 * GIB)]
    plain = plan_ring(model, "sha", nodes, 16, 1 << 20)
    small = plan_ring(model, "sha", nodes, 16, 1 << 20, "int8")
    assert small.max_length // 4 == plain.max_length
    assert small.plan_id != plain.plan_id and small.stages == plain.stages

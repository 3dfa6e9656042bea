"""Members of a group hold all of a stage together, each what may be cut off and fits its speed."""

from dataclasses import replace
from itertools import pairwise

import pytest
from bramble.errors import BadInput
from bramble.model.manifest import Quantization, Shape
from bramble.model.share import Share
from bramble.plan.cut import block_of, cut, divide, layer_fraction, weight_bytes
from bramble.plan.paper import MIXTURES, paper_manifest
from hypothesis import assume, given
from hypothesis import strategies as st

ONE_B = Shape(16, 2048, 8192, 32, 8, 64, 128256, 131072)
EIGHT_B = Shape(32, 4096, 14336, 32, 8, 128, 128256, 131072)
SMOLLM = Shape(30, 576, 1536, 9, 3, 64, 49152, 8192)
EQUAL = [1.0] * 8


def whole(shape: Shape) -> Share:
    return Share.whole(shape, 0, shape.num_layers, True, True)


def counts(shares: tuple[Share, ...], what: str) -> list[int]:
    return [stop - start for start, stop in (getattr(share, what) for share in shares)]


def assert_shared_out(shape: Shape, block: int, shares: tuple[Share, ...]) -> None:
    """Each has a share that the model has; side by side they are all of it, none of it twice."""
    for what, size in (
        ("heads", shape.num_heads),
        ("columns", shape.intermediate_size),
        ("vocab", shape.vocab_size),
    ):
        ranges = [getattr(share, what) for share in shares]
        assert (ranges[0][0], ranges[-1][1]) == (0, size)
        assert all(left[1] == right[0] for left, right in pairwise(ranges))
        assert all(start < stop for start, stop in ranges)
    for share in shares:
        share.check(shape)
        assert share.heads[0] * shape.head_dim % block == 0
        assert share.columns[0] % block == 0


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    kv_heads, per_kv = draw(st.integers(1, 12)), draw(st.integers(1, 9))
    head_dim = draw(st.sampled_from([8, 16, 64, 80, 96, 128]))
    heads = kv_heads * per_kv
    columns = draw(st.integers(1, 4000))
    return Shape(2, 64, columns, heads, kv_heads, head_dim, draw(st.integers(1, 20000)), 128)


@given(
    shapes(),
    st.sampled_from([1, 16, 32, 64, 128]),
    st.lists(st.floats(0.1, 10), min_size=1, max_size=12),
)
def test_whatever_the_shape_and_the_speeds_nothing_is_left_out_or_cut_amiss(
    shape: Shape, block: int, speeds: list[float]
) -> None:
    try:
        shares = cut(whole(shape), shape, block, speeds)
    except BadInput:
        assume(False)
    assert len(shares) == len(speeds)
    assert_shared_out(shape, block, shares)


@given(shapes(), st.lists(st.floats(0.1, 10), min_size=2, max_size=12))
def test_without_blocks_every_group_of_as_many_as_query_heads_is_served(
    shape: Shape, speeds: list[float]
) -> None:
    assume(len(speeds) <= min(shape.num_heads, shape.intermediate_size, shape.vocab_size))
    assert len(cut(whole(shape), shape, 1, speeds)) == len(speeds)


@given(shapes(), st.sampled_from([1, 32]), st.integers(2, 12))
def test_whole_kv_heads_stay_together_where_there_are_as_many_as_members(
    shape: Shape, block: int, size: int
) -> None:
    assume(shape.num_kv_heads >= size and shape.head_dim % block == 0)
    assume(shape.intermediate_size >= block * size and shape.vocab_size >= size)
    shares = cut(whole(shape), shape, block, [1.0] * size)
    kv = [share.kv_heads for share in shares]
    assert all(left[1] == right[0] for left, right in pairwise(kv))


@given(st.integers(1, 400), st.lists(st.floats(0.1, 10), min_size=1, max_size=9))
def test_no_other_division_is_sooner_done(num_units: int, speeds: list[float]) -> None:
    assume(num_units >= len(speeds))
    got = divide(num_units, speeds)
    assert sum(got) == num_units and min(got) >= 1
    slowest = max(count / speed for count, speed in zip(got, speeds, strict=True))
    for rank, speed in enumerate(speeds):
        if got[rank] / speed == slowest and got[rank] > 1:  # one less of it is one more elsewhere
            others = [(got[i] + 1) / s for i, s in enumerate(speeds) if i != rank]
            assert not others or min(others) >= slowest * (1 - 1e-9)


@pytest.mark.parametrize(
    ("shape", "block", "size", "heads", "kv_heads", "columns"),
    [
        (ONE_B, 128, 2, [16, 16], [4, 4], [4096, 4096]),
        (ONE_B, 128, 3, [12, 12, 8], [3, 3, 2], [2816, 2688, 2688]),
        (ONE_B, 32, 4, [8] * 4, [2] * 4, [2048] * 4),
        (EIGHT_B, 128, 4, [8] * 4, [2] * 4, [3584] * 4),
        (SMOLLM, 32, 2, [6, 3], [2, 1], [768, 768]),
    ],
)
def test_equal_members_have_equal_parts_as_far_as_heads_go(
    shape: Shape, block: int, size: int, heads: list[int], kv_heads: list[int], columns: list[int]
) -> None:
    shares = cut(whole(shape), shape, block, EQUAL[:size])
    assert_shared_out(shape, block, shares)
    assert sorted(counts(shares, "heads"), reverse=True) == heads
    assert sorted(counts(shares, "kv_heads"), reverse=True) == kv_heads
    assert counts(shares, "columns") == columns


def test_a_board_of_twice_the_speed_has_twice_the_part() -> None:
    shares = cut(whole(EIGHT_B), EIGHT_B, 128, [2, 1, 1])
    assert counts(shares, "kv_heads") == [4, 2, 2]
    assert counts(shares, "columns") == [7168, 3584, 3584]
    assert counts(shares, "vocab") == [64128, 32064, 32064]


def test_a_very_slow_board_has_the_least_there_is() -> None:
    shares = cut(whole(EIGHT_B), EIGHT_B, 128, [1, 0.001])
    assert counts(shares, "kv_heads") == [7, 1]
    assert counts(shares, "columns") == [14336 - 128, 128]


def test_more_members_than_kv_heads_divide_query_heads_of_one() -> None:
    shares = cut(whole(ONE_B), ONE_B, 32, [1.0] * 16)
    assert_shared_out(ONE_B, 32, shares)
    assert counts(shares, "heads") == [2] * 16
    assert [share.kv_heads for share in shares] == [(i // 2, i // 2 + 1) for i in range(16)]


def test_with_blocks_wider_than_a_head_several_heads_stay_together() -> None:
    """Two heads of 64 are a block of 128."""
    shares = cut(whole(SMOLLM), SMOLLM, 128, [1, 1])
    assert [share.heads for share in shares] == [(0, 6), (6, 9)]
    with pytest.raises(BadInput, match="blocks of 128"):
        cut(whole(SMOLLM), SMOLLM, 128, [1] * 6)


@pytest.mark.parametrize(
    ("shape", "block", "size", "says"),
    [
        (ONE_B, 32, 33, "a group of 33 members.* 32 query heads.*at most 32"),
        (replace(ONE_B, intermediate_size=300), 128, 4, "300 feed-forward columns are 3 quant"),
        (replace(ONE_B, vocab_size=3), 32, 4, "lm_head has 3 rows"),
        (replace(ONE_B, head_dim=48), 128, 20, "32 query heads of 48 values"),
    ],
)
def test_what_cannot_be_divided_is_said_with_the_numbers(
    shape: Shape, block: int, size: int, says: str
) -> None:
    with pytest.raises(BadInput, match=says):
        cut(whole(shape), shape, block, [1.0] * size)


@pytest.mark.parametrize("speeds", [[], [1, 0], [1, -2]])
def test_a_group_without_a_speed_is_refused(speeds: list[float]) -> None:
    with pytest.raises(BadInput, match="above 0"):
        cut(whole(ONE_B), ONE_B, 32, speeds)


def test_one_member_has_the_whole_stage() -> None:
    assert cut(whole(ONE_B), ONE_B, 128, [3.0]) == (whole(ONE_B),)


def test_only_the_last_stage_divides_the_lm_head() -> None:
    middle = Share.whole(ONE_B, 4, 8, False, False)
    assert not any(share.has_lm_head for share in cut(middle, ONE_B, 128, [1, 1]))


@pytest.mark.parametrize("name", ["dense", *MIXTURES])
def test_the_shares_of_a_stage_weigh_what_the_stage_weighs(name: str) -> None:
    shape, experts = MIXTURES.get(name, (EIGHT_B, None))
    model = paper_manifest("m", shape, False, "int4", experts)
    shares = cut(whole(shape), shape, 32, [3, 2, 1])
    assert sum(layer_fraction(model, share) for share in shares) == pytest.approx(1)
    embed = model.part_bytes("embed")  # which each has
    total = sum(weight_bytes(model, share) - embed for share in shares)
    assert total == pytest.approx(weight_bytes(model, whole(shape)) - embed, rel=1e-6)


def test_the_block_is_that_of_the_layers() -> None:
    model = paper_manifest("m", ONE_B, False, "int4")
    assert block_of(replace(model, quantization=Quantization("int4", "int4", "int4", 64))) == 64
    assert block_of(replace(model, quantization=Quantization("float32", "int4", "int4", 64))) == 1

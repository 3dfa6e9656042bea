"""A stage of several members waits for its slowest one and for the exchanges, and no more."""

import math
from dataclasses import replace

import pytest
from bramble.export.synthetic import decoder_of
from bramble.model.manifest import Manifest
from bramble.model.share import Share
from bramble.plan.cost import AARCH64
from bramble.plan.devices import GIGABIT, PI5_PACE
from bramble.plan.exchange_time import FLOAT32, Q8, exchange_s
from bramble.plan.pace import Load, Pace, share_load, whole_load
from bramble.plan.paper import MIXTURES, paper_manifest
from bramble.plan.ring_speed import Ring
from bramble.plan.stage_speed import Exchanges, Stage

HIDDEN = 4096
VOCAB = 128_256


def model() -> Manifest:
    decoder = decoder_of("llama-3.1-8b")
    return paper_manifest("llama-3.1-8b", decoder.shape, decoder.is_tied, "int4")


def part(manifest: Manifest, at: int, members: int) -> Share:
    """Member `at` of as many, each with the same share of everything."""
    shape = manifest.shape
    whole = Share.whole(shape, 0, shape.num_layers, at == 0, True)
    cut = {
        name: tuple(count * edge // members for edge in (at, at + 1))
        for name, count in (
            ("heads", shape.num_heads),
            ("kv_heads", shape.num_kv_heads),
            ("columns", shape.intermediate_size),
            ("vocab", shape.vocab_size),
        )
    }
    return replace(whole, **cut)


def group(members: int, paces: tuple[Pace, ...] = ()) -> Stage:
    manifest = model()
    loads = tuple(
        share_load(manifest, part(manifest, at, members), "float32", AARCH64)
        for at in range(members)
    )
    return Stage(loads, paces or (PI5_PACE,) * members, manifest.shape.num_layers)


def added(loads: list[Load], name: str) -> float:
    return sum(getattr(load, name) for load in loads)


@pytest.mark.parametrize("members", [1, 2, 4, 8])
def test_members_together_are_asked_what_one_would_be(members: int) -> None:
    manifest = model()
    loads = [
        share_load(manifest, part(manifest, at, members), "float32", AARCH64)
        for at in range(members)
    ]
    whole = whole_load(manifest)
    for name in (
        "layer_bytes",
        "head_bytes",
        "parameters",
        "kv_bytes_per_token",
        "attention_width",
    ):
        assert added(loads, name) == pytest.approx(getattr(whole, name))


def test_members_with_parts_of_one_kv_head_have_its_keys_and_values_each() -> None:
    manifest = model()
    half = replace(part(manifest, 0, 8), heads=(0, 2))  # of the four query heads of KV head 0
    load, one = (
        share_load(manifest, half, "float32", AARCH64),
        share_load(manifest, part(manifest, 0, 8), "float32", AARCH64),
    )
    assert load.kv_bytes_per_token == one.kv_bytes_per_token
    assert load.attention_width == one.attention_width / 2
    assert one.layer_bytes / 2 < load.layer_bytes < one.layer_bytes


def test_of_a_mixture_each_member_has_its_columns_of_every_expert() -> None:
    shape, experts = MIXTURES["qwen3-30b-a3b"]
    manifest = paper_manifest("mixture", shape, False, "int4", experts)
    loads = [share_load(manifest, part(manifest, at, 4), "float32", AARCH64) for at in range(4)]
    whole = whole_load(manifest)
    assert sum(load.read_bytes(1) for load in loads) == pytest.approx(whole.read_bytes(1))
    assert loads[0].experts == pytest.approx(whole.experts)


def test_a_token_waits_for_two_exchanges_per_layer_and_one_of_the_logits() -> None:
    pace = replace(PI5_PACE, exchange_s=0.0, numbers_s=math.inf)
    stage, exchanges = group(4, (pace,) * 4), Exchanges(GIGABIT, HIDDEN, VOCAB, Q8)
    for rows in (1, 2):  # three of four members send their range of each row's logits
        each = exchange_s(rows * HIDDEN, 4, Q8, GIGABIT)
        logits = GIGABIT.seconds(rows * 3 * VOCAB)
        assert exchanges.decode_s(stage, rows) == pytest.approx(64 * each + logits)
    each = exchange_s(HIDDEN, 4, Q8, GIGABIT)
    without = replace(stage, loads=tuple(replace(load, head_bytes=0.0) for load in stage.loads))
    assert exchanges.decode_s(without, 1) == pytest.approx(64 * each)
    assert exchanges.decode_s(group(1), 1) == 0.0


def test_the_slowest_member_is_the_stages_pace() -> None:
    slow = PI5_PACE.times(0.5)
    even, uneven = group(2), group(2, (PI5_PACE, slow))
    assert uneven.decode_s(1, 0) == pytest.approx(2 * even.decode_s(1, 0))
    assert uneven.slowest(0)[1] == slow


def test_the_terms_of_a_token_are_its_time() -> None:
    for stage in (group(1), group(2), group(4)):
        ring = Ring((stage,), Exchanges(GIGABIT, HIDDEN, VOCAB, FLOAT32))
        assert ring.terms(1000).total_s == pytest.approx(ring.token_s(1000))


def test_four_boards_give_one_stream_of_8b_three_times_what_one_gives() -> None:
    one, four = (Ring((group(n),), Exchanges(GIGABIT, HIDDEN, VOCAB)).token_s() for n in (1, 4))
    assert 3 < one / four < 3.9

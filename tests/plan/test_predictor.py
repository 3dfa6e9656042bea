"""A prediction fits exactly where memory suffices, and more hardware is never worse."""

import math
from dataclasses import replace

import pytest
from bramble.errors import BadInput
from bramble.export.synthetic import SHAPES, decoder_of
from bramble.model.manifest import Manifest
from bramble.model.share import Share
from bramble.plan.choice import PAYS
from bramble.plan.cost import AARCH64, PACKED_BITS, resident_bytes
from bramble.plan.devices import DEVICES, LINKS
from bramble.plan.pace import Pace, decode_s, whole_load
from bramble.plan.paper import MIXTURES, paper_manifest
from bramble.plan.predictor import Setup, fewest, predict
from bramble.plan.ring_speed import CHUNK_TOKENS, Ring
from bramble.plan.rings import LATENCY, OBJECTIVES, THROUGHPUT, Work
from bramble.plan.stage_speed import Exchanges, Stage
from hypothesis import given, settings
from hypothesis import strategies as st


def model(name: str = "llama-3.1-8b", kind: str = "int4") -> Manifest:
    decoder = decoder_of(name)
    return paper_manifest(name, decoder.shape, decoder.is_tied, kind)


def setup(count: int, board: str = "pi5-16gb", objective: str = THROUGHPUT) -> Setup:
    return Setup((DEVICES[board],) * count, objective)


def alike(manifest: Manifest, stages: int, *, has_attention: bool = True) -> Ring:
    """A ring whose stages each do the same share, over a network that costs nothing."""
    whole = whole_load(manifest)
    if not has_attention:
        whole = replace(whole, attention_width=0)
    shared = ("layer_bytes", "head_bytes", "parameters", "head_parameters", "kv_bytes_per_token")
    shares = {name: getattr(whole, name) / stages for name in (*shared, "attention_width")}
    pace = Pace(10e9, 40e9, 0.0)
    link = replace(LINKS["1gbe"], bytes_s=math.inf, latency_s=0.0)
    stage = Stage((replace(whole, **shares),), (pace,), manifest.shape.num_layers)
    return Ring((stage,) * stages, Exchanges(link, 4096, 128_256))


def test_one_stream_takes_the_same_time_round_any_number_of_stages() -> None:
    times = [alike(model(), stages).token_s() for stages in (1, 2, 4, 8)]
    assert times == pytest.approx([times[0]] * 4)


def test_a_ring_of_n_gives_n_fold_in_aggregate_once_each_stage_is_busy() -> None:
    alone = alike(model(), 1).aggregate(1)
    for stages in (2, 4, 8):
        assert alike(model(), stages).aggregate(stages) == pytest.approx(stages * alone)


def test_chunks_of_a_prompt_follow_one_another_through_the_stages() -> None:
    ring, chunks, stages = alike(model(), 4, has_attention=False), 16, 4
    alone = alike(model(), 1, has_attention=False).first_token_s(CHUNK_TOKENS * chunks)
    expected = alone / stages * (chunks + stages - 1) / chunks
    assert ring.first_token_s(CHUNK_TOKENS * chunks) == pytest.approx(expected, rel=0.02)


def test_rows_of_a_step_share_one_reading_as_was_measured() -> None:
    """33, 40, 59 and 100 ms for 1, 2, 4 and 8 rows: service/DESIGN.md and FACTS, x86_64."""
    load = whole_load(model("llama-3.2-1b"))
    pace = Pace((load.layer_bytes + load.head_bytes) / 0.033, 105 * 1.236e9, 0.0)
    for rows, measured_s in ((1, 0.033), (2, 0.040), (4, 0.059), (8, 0.100)):
        assert decode_s(load, pace, rows, 0) == pytest.approx(measured_s, rel=0.07)


@settings(max_examples=25)
@given(
    st.sampled_from(sorted(SHAPES)),
    st.sampled_from(sorted(DEVICES)),
    st.integers(1, 4),
    st.sampled_from(OBJECTIVES),
)
def test_a_prediction_fits_exactly_where_memory_suffices(
    name: str, board: str, count: int, objective: str
) -> None:
    manifest, boards = model(name), setup(count, board, objective)
    enough = fewest(manifest, DEVICES[board], boards)
    try:
        prediction = predict(manifest, boards)
    except BadInput:
        assert enough is None or enough > count
        return
    assert enough is not None and enough <= count
    assert all(line.free >= 0 for line in prediction.memory)


@settings(max_examples=25)
@given(st.sampled_from(sorted(SHAPES)), st.sampled_from(sorted(DEVICES)), st.integers(1, 7))
def test_one_more_board_is_never_slower(name: str, board: str, count: int) -> None:
    manifest = model(name)
    try:
        fewer = predict(manifest, setup(count, board))
    except BadInput:
        return
    more = predict(manifest, setup(count + 1, board))
    streams = more.together[-1].streams
    assert streams == max(Setup((), THROUGHPUT).streams)
    # Groups that are better by less than PAYS are not chosen.
    least = fewer.choice.chosen.figures.aggregate / PAYS
    assert more.choice.chosen.figures.aggregate >= 0.998 * least


def test_a_stack_that_is_too_small_is_told_what_would_fit() -> None:
    with pytest.raises(BadInput, match=r"0\.\d\d GiB may be used.* Would fit: .*2x pi5-4gb"):
        predict(model(), setup(2, "pi5-2gb"))


def test_the_planners_rule_decides_how_many_boards_are_needed() -> None:
    manifest = model()
    whole = Share.whole(manifest.shape, 0, manifest.shape.num_layers, True, True)
    resident = resident_bytes(manifest, whole, AARCH64)
    board = DEVICES["pi5-4gb"]
    usable = board.usable_bytes(is_head=True), board.usable_bytes(is_head=False)
    assert usable[0] < resident < sum(usable)
    assert fewest(manifest, board, setup(1)) == 2
    assert fewest(manifest, DEVICES["pi5-8gb"], setup(1)) == 1


def test_streams_that_find_no_room_in_the_cache_wait() -> None:
    work = Work(prompt=6000, reply=1000)
    prediction = predict(model(), replace(setup(2, "pi5-8gb"), work=work))
    (plan,) = prediction.choice.rings
    room = plan.budget_tokens // 7000
    assert [line.at_once for line in prediction.together] == [
        min(n, room) for n in (1, 2, 4, 8, 16)
    ]
    assert prediction.together[-1].aggregate == prediction.together[-2].aggregate


def test_watts_lie_between_idle_and_load_and_rise_with_streams() -> None:
    prediction = predict(model(), setup(4))
    watts = [line.watts for line in prediction.together]
    assert watts == sorted(watts)
    assert prediction.idle_watts < watts[0] and watts[-1] <= 4 * 11.7


def test_a_slower_link_costs_the_ring_and_not_the_replicas() -> None:
    manifest = model("llama-3.2-1b")
    ring, replicas = setup(4, objective=LATENCY), setup(4, objective=THROUGHPUT)
    wifi = LINKS["wifi"]
    assert len(predict(manifest, ring).choice.rings) == 1
    assert predict(manifest, replace(ring, link=wifi)).token_s > predict(manifest, ring).token_s
    slower = replace(wifi, latency_s=2 * wifi.latency_s)
    slow, slowest = (predict(manifest, replace(replicas, link=link)) for link in (wifi, slower))
    assert len(slow.choice.rings) == 4
    assert slow.together[-1].aggregate == pytest.approx(slowest.together[-1].aggregate, rel=0.06)


def test_only_picked_experts_are_read_by_one_token_and_nearly_all_by_many() -> None:
    shape, experts = MIXTURES["qwen3-30b-a3b"]
    load = whole_load(paper_manifest("mixture", shape, False, "int4", experts))
    active = load.read_bytes(1) / (PACKED_BITS[AARCH64]["int4"] / 8)
    assert active == pytest.approx(
        2.73e9, rel=0.02
    )  # 3.3 billion active, less embedding and lm_head
    assert load.read_bytes(128) > 0.99 * load.layer_bytes


def test_a_longer_context_is_slower() -> None:
    manifest = model()
    short, long = (
        predict(manifest, replace(setup(2), work=Work(prompt=prompt))) for prompt in (64, 4096)
    )
    assert long.token_s > short.token_s
    assert long.first_token_s > 64 * short.first_token_s * 0.5


@pytest.mark.parametrize(("kv_cache", "slower"), [("float32", 0.54), ("int8", 1.16)])
def test_a_long_conversation_slows_its_own_reply_as_its_cache_is_computed(
    kv_cache: str, slower: float
) -> None:
    """Attention behind 4,000 tokens: 497 and 1,065 million instructions, weights: 74 ms."""
    manifest, work = model("llama-3.2-1b"), Work(prompt=64, kv_cache=kv_cache)
    boards = replace(setup(1), work=work)
    ring = predict(manifest, boards).choice.chosen.speeds[0]
    assert ring.token_s(4000) / ring.token_s(64) - 1 == pytest.approx(slower, rel=0.15)

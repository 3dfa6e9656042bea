"""A bench's JSON gives back the pace of the node that it was run on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bramble.errors import BadInput
from bramble.export.synthetic import decoder_of
from bramble.model.manifest import Manifest
from bramble.plan.calibration import CONTEXT_TOKENS, Bench, calibrate, compare, read_bench
from bramble.plan.cost import CHUNK_INSTRUCTIONS
from bramble.plan.devices import GIGABIT
from bramble.plan.pace import Link, Pace, decode_s
from bramble.plan.paper import paper_manifest
from bramble.plan.planner import GIB, Node, plan_ring
from bramble.plan.ring_speed import ring_of

STREAMS = ["2 streams", "4 streams", "8 streams"]
TRUTH = Pace(7e9, 33e9, 0.0015, instructions_s=33e9 * CHUNK_INSTRUCTIONS)


def model() -> Manifest:
    decoder = decoder_of("llama-3.2-1b")
    return paper_manifest("llama-3.2-1b", decoder.shape, decoder.is_tied, "int4")


def bench(stages: int) -> dict[str, Any]:
    """What a bench would print if nodes were exactly as TRUTH says."""
    nodes = [Node(str(i), 64 * GIB) for i in range(stages)]
    plan = plan_ring(model(), "sha", nodes, 8, 8192)
    ring = ring_of(model(), plan, {node.name: TRUTH for node in nodes}, GIGABIT)
    compute = sum(
        decode_s(load, replace(TRUTH, step_s=0), 1, CONTEXT_TOKENS)
        for stage in ring.stages
        for load in stage.loads
    )
    token = ring.token_s(CONTEXT_TOKENS)
    return {
        "model": "synthetic-llama-3.2-1b",
        "stages": stages,
        "prompt_tokens": 512,
        "prefill_tokens_s": 512 / ring.first_token_s(512),
        "costs": {
            "compute_ms": 1000 * compute,
            "ring_ms_per_stage": 1000 * (token - compute) / stages,
        },
        "runs": [
            {"streams": n, "aggregate_tokens_s": ring.aggregate(n, CONTEXT_TOKENS)}
            for n in (1, 2, 4, 8)
        ],
    }


@pytest.mark.parametrize("stages", [1, 3])
def test_a_bench_of_known_nodes_gives_their_pace_back(stages: int, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(bench(stages)))
    pace = calibrate(read_bench(path), model(), GIGABIT)
    assert pace.read_bytes_s == pytest.approx(TRUTH.read_bytes_s, rel=0.015)
    assert pace.parameters_s == pytest.approx(TRUTH.parameters_s, rel=0.02)
    assert pace.step_s == pytest.approx(TRUTH.step_s, rel=0.15)  # with the hops' microseconds
    compared = compare(read_bench(path), model(), pace, GIGABIT)
    assert [each.what for each in compared] == ["prompt of 512", "1 stream", *STREAMS]
    for each in compared[:2]:
        assert each.predicted == pytest.approx(each.measured, rel=0.02)


def test_the_pace_of_one_stage_predicts_a_ring_of_three(tmp_path: Path) -> None:
    one, three = tmp_path / "one.json", tmp_path / "three.json"
    one.write_text(json.dumps(bench(1)))
    three.write_text(json.dumps(bench(3)))
    pace = calibrate(read_bench(one), model(), GIGABIT)
    for each in compare(read_bench(three), model(), pace, GIGABIT):
        is_together = "streams" in each.what
        # A bench counts everybody's short prompt in; the made-up one here does not.
        assert each.predicted == pytest.approx(each.measured, rel=0.3 if is_together else 0.02)


# service/DESIGN.md, "Where a token's time goes": one stage and three in turn, one thread each,
# on two cores; ms per token, ms of compute, prefill of 256 and 8 streams in tokens/s
MEASURED = [
    ((34.7, 34.2, 120.7, 59.8), (35.2, 32.0, 144.9)),
    ((36.2, 35.8, 121.1, 60.9), (36.6, 35.5, 154.1)),
]
LOOPBACK = Link("loopback", 5e9, 20e-6)


@pytest.mark.parametrize(("one", "three"), MEASURED)
def test_one_measured_stage_predicts_its_batches_and_a_measured_ring_of_three(
    one: tuple[float, ...], three: tuple[float, ...]
) -> None:
    token, compute, prefill, together = one
    first = Bench(
        "m", 1, 256, prefill, compute / 1e3, (token - compute) / 1e3, 64, ((8, together),)
    )
    pace = calibrate(first, model(), LOOPBACK)
    (_, _, batch) = compare(first, model(), pace, LOOPBACK)
    assert abs(batch.error) < 0.1
    token, compute, prefill = three
    ring = Bench("m", 3, 256, prefill, compute / 1e3, (token - compute) / 3e3, 64, ())
    prompt, stream = compare(ring, model(), pace, LOOPBACK)
    assert abs(stream.error) < 0.05
    assert 0 < prompt.error < 0.25  # three stages shared two cores, split for decoding alone


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a bench's result"),
        ("[]", "is not a bench's result"),
        ("{}", "is not a bench's result .* make one: bramble bench --json"),
        ('{"costs": null}', "no single stream; run it with --streams 1,2,4,8"),
    ],
)
def test_what_is_no_bench_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=message):
        read_bench(path)


def test_a_bench_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        read_bench(tmp_path / "bench.json")


def test_a_bench_with_figures_that_cannot_be_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(bench(1) | {"prefill_tokens_s": 0}))
    with pytest.raises(BadInput, match="has to be above 0"):
        read_bench(path)

"""`bramble predict` and `bramble plan --objective` as a person calls them."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bramble.cli import main
from bramble.export.synthetic import decoder_of
from bramble.model import manifest as manifests
from bramble.plan.paper import paper_manifest

Capture = pytest.CaptureFixture[str]
BASE = ("predict", "--model=llama-3.1-8b")


def predicted(capsys: Capture, *words: str) -> dict[str, Any]:
    assert main([*BASE, "--json", *words]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_it_says_plan_memory_speed_first_token_watts_and_price(capsys: Capture) -> None:
    assert main([*BASE, "--nodes", "4x", "pi5-16gb"]) == 0
    said = capsys.readouterr().out
    for words in (
        "llama-3.1-8b int4-64, 4.5 GB, on 4x pi5-16gb (1gbe)",
        "For throughput: 2 rings of a group of 2 nodes (replicas), ",
        "4 rings of 1 node (replicas): ",
        "0–31, 50% of each",
        "exchanges within the groups",
        "one stream: ",
        "first token of a prompt of 512: ",
        "J per token",
        "12 W idle",
        "580 USD",
        "From published speeds",
    ):
        assert words in said


@pytest.mark.parametrize(
    "nodes",
    [("4x", "pi5-16gb", "1x", "pi5-8gb"), ("4xpi5-16gb", "pi5-8gb"), ("4xpi5-16gb,pi5-8gb",)],
)
def test_boards_are_written_as_it_comes(nodes: tuple[str, ...], capsys: Capture) -> None:
    boards = predicted(capsys, "--nodes", *nodes)["boards"]
    assert boards == ["pi5-16gb"] * 4 + ["pi5-8gb"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nodes", "2x", "pi4"], "'pi4' is unknown; known are pi5-2gb"),
        (["--nodes", "40x", "pi5-8gb"], "40 boards, it has to be 1 to 32"),
        (["--nodes", "0x", "pi5-8gb"], "0 boards, it has to be 1 to 32"),
        (["--nodes", "99999999999x", "pi5-8gb"], "99999999999 boards, it has to be 1 to 32"),
        (["--nodes", "pi5-8gb", "--against=other.json"], "--against goes with --calibration"),
        (["--nodes", "pi5-16gb", "--prompt=-5"], "each has to be 1 or more"),
        (["--nodes", "pi5-8gb", "--model=llama-9"], "neither a model folder nor one of the shapes"),
        (
            ["--nodes", "pi5-8gb", "--quant=int3"],
            "has to be one of int4, int4-64, int4-128-symmetric",
        ),
        (["--nodes", "pi5-8gb", "--streams=1,x"], "need numbers with commas"),
        (["--nodes", "pi5-16gb", "--prompt=9000"], "both together 8192 or less"),
        (["--nodes", "pi5-4gb"], "Would fit: 4x pi5-2gb, 2x pi5-4gb, 1x pi5-8gb, 1x pi5-16gb"),
        ([], "need --nodes and --model"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    words: list[str], message: str, capsys: Capture
) -> None:
    assert main([*BASE, *words]) == 2
    assert message in capsys.readouterr().err


def test_the_objective_changes_the_plan(capsys: Capture) -> None:
    nodes = ("--nodes", "4xpi5-16gb", "--link=wifi", "--model=llama-3.2-1b", "--prompt=2000")
    ring = predicted(capsys, *nodes, "--objective=latency")
    replicas = predicted(capsys, *nodes, "--objective=throughput")
    assert [len(each["rings"]) for each in (ring, replicas)] == [1, 4]
    assert ring["first_token_s"] < replicas["first_token_s"]
    assert ring["streams"][-1]["aggregate"] < replicas["streams"][-1]["aggregate"]


def test_a_group_is_told_with_the_terms_of_its_token(capsys: Capture) -> None:
    nodes = ("--nodes", "4xpi5-16gb", "--objective=latency")
    group, exact = (predicted(capsys, *nodes, f"--exchange={form}") for form in ("q8", "float32"))
    assert [member["stage"] for member in group["rings"][0]] == [0, 0, 0, 0]
    assert [line["part"] for line in group["memory"]] == pytest.approx([0.25] * 4)
    assert sum(group["terms_s"].values()) == pytest.approx(1 / group["tokens_s"])
    assert exact["terms_s"]["exchange_s"] > 1.5 * group["terms_s"]["exchange_s"]


def test_a_calibration_replaces_the_published_pace(tmp_path: Path, capsys: Capture) -> None:
    bench = {
        "model": "synthetic-llama-3.2-1b",
        "stages": 1,
        "prompt_tokens": 512,
        "prefill_tokens_s": 20.0,
        "costs": {"compute_ms": 150.0, "ring_ms_per_stage": 3.0},
        "runs": [{"streams": 4, "aggregate_tokens_s": 12.0}],
    }
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(bench))
    nodes = ("--nodes", "pi5-16gb", "--model=llama-3.2-1b", "--prompt=512", "--kv=float32")
    slow = predicted(capsys, *nodes, f"--calibration={path}")
    assert slow["first_token_s"] == pytest.approx(512 / 20, rel=0.01)
    assert slow["tokens_s"] < predicted(capsys, *nodes)["tokens_s"]
    assert main([*BASE, *nodes, f"--calibration={path}"]) == 0
    assert "Calibrated by a bench of synthetic-llama-3.2-1b: 4.5 GB/s" in capsys.readouterr().out
    against = (f"--calibration={path}", f"--against={path}")
    assert main([*BASE, *nodes, *against]) == 0
    assert "4 streams" in capsys.readouterr().out
    assert main([*BASE, *nodes, *against, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["what"] for row in rows] == ["prompt of 512", "1 stream", "4 streams"]


def test_a_calibration_by_a_model_that_nobody_knows_is_refused(
    tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "bench.json"
    costs = {"compute_ms": 150.0, "ring_ms_per_stage": 3.0}
    document = {"model": "mine", "stages": 1, "prompt_tokens": 8, "prefill_tokens_s": 2.0}
    path.write_text(json.dumps(document | {"costs": costs, "runs": []}))
    assert main([*BASE, "--nodes", "pi5-16gb", f"--calibration={path}"]) == 2
    assert "a bench of mine, which is not known here" in capsys.readouterr().err


def test_check_prints_a_line_per_published_row_and_the_medians(capsys: Capture) -> None:
    assert main(["predict", "--check"]) == 0
    said = capsys.readouterr().out
    assert "decode: 4 constants on 29 rows, median error 4." in said
    assert "worst TinyLlama-1.1B Q4_K_M by RuVector, +82%" in said
    assert said.count("distributed-llama README 0.3.1") == 6


def test_check_is_there_for_programs_too(capsys: Capture) -> None:
    assert main(["predict", "--check", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["rows"]) >= 40 and len(document["summary"]) == 3


def test_plot_draws_a_png_or_says_what_to_install(tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "speed.png"
    code = main([*BASE, "--nodes", "2x", "pi5-16gb", f"--plot={path}"])
    if importlib.util.find_spec("matplotlib") is None:
        assert code == 1
        assert "pip install matplotlib==" in capsys.readouterr().err
    else:
        assert code == 0
        assert path.read_bytes()[:4] == b"\x89PNG"


# ------------------------------------------------------------------------------------------ plan


@pytest.fixture
def model(tmp_path: Path) -> Path:
    decoder = decoder_of("llama-3.2-1b")
    manifests.write(paper_manifest("llama", decoder.shape, True, "int4"), tmp_path)
    return tmp_path


def test_plan_by_objective_prints_every_ring_and_the_reason(model: Path, capsys: Capture) -> None:
    words = [f"--model={model}", "--nodes=a=6GiB,b=6GiB", "--objective=throughput"]
    assert main(["plan", *words, "--explain"]) == 0
    said = capsys.readouterr().out
    assert said.count("layers 0 to 15 of 16") == 2
    assert "For throughput: 2 rings of 1 node (replicas), " in said
    assert main(["plan", *words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [ring["stages"][0]["node"] for ring in document["rings"]] == ["a", "b"]


def test_plan_without_an_objective_is_one_ring_and_explains_each(
    model: Path, capsys: Capture
) -> None:
    words = [f"--model={model}", "--nodes=a=6GiB,b=6GiB"]
    assert main(["plan", *words, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["stages"]) == 2
    assert main(["plan", *words, "--explain"]) == 0
    said = capsys.readouterr().out
    assert all(f"For {name}: " in said for name in ("latency", "throughput", "capacity"))


def test_plan_for_capacity_splits_layers_by_memory_as_the_head_does(
    model: Path, capsys: Capture
) -> None:
    words = ["plan", f"--model={model}", "--nodes=a=2GiB,b=1GiB", "--context=100000", "--json"]
    documents = []
    for more in (["--objective=capacity"], ["--rings=a,b"]):
        assert main([*words, *more]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    first = [document["stages"][0]["stop"] for document in documents]
    tokens = [document["budget_tokens"] for document in documents]
    assert first[0] > first[1] == 8
    assert tokens[0] > 1.5 * tokens[1]


def test_plan_counts_the_cache_of_the_kind_that_the_head_has(model: Path, capsys: Capture) -> None:
    words = ["plan", f"--model={model}", "--nodes=a=2GiB", "--context=100000", "--json"]
    assert main([*words, "--kv=int8"]) == 2
    assert "was exported without an int8 KV cache" in capsys.readouterr().err
    made = manifests.read(model)
    parts = tuple(replace(part, int8_cache=part.onnx) for part in made.parts)
    manifests.write(replace(made, parts=parts), model)
    tokens = []
    kinds = ("float32", "auto", "float16", "int8")
    for more in (*([f"--kv={kind}"] for kind in kinds), ["--kv=int8", "--objective=capacity"]):
        assert main([*words, *more]) == 0
        tokens.append(json.loads(capsys.readouterr().out)["budget_tokens"])
    assert tokens == pytest.approx([times * tokens[0] for times in (1, 2, 2, 4, 4)], rel=0.001)
    assert main([*words[:-1], "--kv=int8", "--explain"]) == 0
    assert f"{tokens[3]:,} tokens of KV cache in a ring" in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "times"), [("auto", 2), ("float16", 2), ("int8", 4)])
def test_a_smaller_cache_holds_more_and_int8_costs_a_pi_time(
    kind: str, times: int, capsys: Capture
) -> None:
    nodes = ("--nodes", "pi5-8gb", "--prompt=6000")
    plain, small = (predicted(capsys, *nodes, f"--kv={each}") for each in ("float32", kind))
    assert plain["kv_cache"] == "float32"
    assert small["kv_cache"] == ("float16" if kind == "auto" else kind)
    assert small["cache_tokens"] == pytest.approx(times * plain["cache_tokens"], rel=0.001)
    # The kernel of int8 has no vector code on Arm
    assert (small["tokens_s"] > plain["tokens_s"]) == (kind != "int8")

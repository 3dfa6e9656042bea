"""A prediction as people read it, and as programs do."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from bramble.model.disk import size
from bramble.model.manifest import Manifest
from bramble.plan.calibration import Bench, Compared
from bramble.plan.devices import PROMPT_BAND
from bramble.plan.pace import Pace
from bramble.plan.predictor import Prediction, Setup

PUBLISHED_BASIS = (
    "From published speeds; `bramble predict --check` shows how well they are met. Prompts rest on "
    "counted instructions and on how many a Pi 5 retires: a real one may read them at "
    f"{PROMPT_BAND[0]} to {PROMPT_BAND[1]} of that speed. `bramble bench --json` on one Pi and "
    "--calibration replace all of it."
)


def calibrated_basis(bench: Bench, pace: Pace, compared: list[Compared]) -> str:
    """What a calibrated prediction rests on, and how well it gives its own bench back."""
    met = ", ".join(
        f"{each.what} {each.predicted:.1f} for {each.measured:.1f}" for each in compared
    )
    return (
        f"Calibrated by a bench of {bench.model}: {pace.read_bytes_s / 1e9:.1f} GB/s, "
        f"{pace.parameters_s / 1e9:.0f} G parameters/s, {pace.step_s * 1000:.2f} ms per step. "
        f"Of that bench, predicted for measured tokens/s: {met}."
    )


def show_compared(bench: Bench, compared: list[Compared], as_json: bool) -> None:
    """Another bench's figures beside the predictor's."""
    if as_json:
        rows = [asdict(each) | {"error": each.error} for each in compared]
        print(
            json.dumps({"model": bench.model, "stages": bench.num_stages, "rows": rows}, indent=1)
        )
        return
    table = Table(box=None, pad_edge=False, title=f"{bench.model}, {bench.num_stages} stages")
    for column in ("tokens/s", "measured", "predicted", "error"):
        table.add_column(column, justify="left" if column == "tokens/s" else "right")
    for each in compared:
        figures = f"{each.measured:.1f}", f"{each.predicted:.1f}", f"{each.error:+.1%}"
        table.add_row(each.what, *figures)
    Console(highlight=False).print(table)


def show(manifest: Manifest, setup: Setup, prediction: Prediction, basis: str) -> None:
    """Print it for people; `basis` says where the speeds are from."""
    console = Console(highlight=False, soft_wrap=True)
    weights = sum(file.bytes for file in manifest.files.values())
    console.print(
        f"[bold]{manifest.name}[/] {manifest.quantization.layers}, {size(weights)}, on "
        f"{stack(setup)} ({setup.link.name})"
    )
    console.print(prediction.choice.reason)
    console.print(_memory(prediction))
    rings = prediction.choice.rings
    console.print(
        f"conversations of up to {min(plan.max_length for plan in rings)} tokens, "
        f"{sum(plan.budget_tokens for plan in rings)} in the {setup.work.kv_cache} cache together"
    )
    console.print(
        f"one stream: {speed(1 / prediction.token_s)} tokens/s; first token of a prompt of "
        f"{setup.work.prompt}: {prediction.first_token_s:.1f} s "
        f"({speed(setup.work.prompt / prediction.first_token_s)} tokens/s in)"
    )
    if prediction.choice.chosen.has_groups:
        console.print(_terms(prediction))
    console.print(_together(prediction))
    price = "unknown" if prediction.price_usd is None else f"{prediction.price_usd} USD"
    console.print(
        f"{prediction.idle_watts:.0f} W idle, without the switch; boards at the maker's list of "
        f"December 2025: {price}"
    )
    console.print(basis)


def document(manifest: Manifest, setup: Setup, prediction: Prediction) -> dict[str, Any]:
    choice = prediction.choice
    return {
        "model": manifest.name,
        "quantization": asdict(manifest.quantization),
        "boards": [board.name for board in setup.boards],
        "link": setup.link.name,
        "kv_cache": setup.work.kv_cache,
        "objective": setup.objective,
        "reason": choice.reason,
        "rings": [
            [
                {
                    "node": member.node,
                    "stage": index,
                    "start": member.share.start,
                    "stop": member.share.stop,
                }
                for index, stage in enumerate(plan.stages)
                for member in stage.members
            ]
            for plan in choice.rings
        ],
        "spare": list(choice.spare),
        "memory": [asdict(line) | {"free": line.free} for line in prediction.memory],
        "cache_tokens": sum(plan.budget_tokens for plan in choice.rings),
        "exchange": setup.work.exchange,
        "tokens_s": 1 / prediction.token_s,
        "terms_s": asdict(prediction.terms),
        "prompt_tokens": setup.work.prompt,
        "first_token_s": prediction.first_token_s,
        "streams": [asdict(line) for line in prediction.together],
        "idle_watts": prediction.idle_watts,
        "price_usd": prediction.price_usd,
    }


def speed(tokens_s: float) -> str:
    """Two digits at least: 0.23, 2.1, 84.7"""
    return f"{tokens_s:.{1 if tokens_s >= 1 else 2}f}"


def stack(setup: Setup) -> str:
    """4x pi5-16gb, 1x pi5-8gb"""
    counts = Counter(board.name for board in setup.boards)
    return ", ".join(f"{count}x {name}" for name, count in counts.items())


def _memory(prediction: Prediction) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("node", "ring", "layers", "system", "weights", "KV cache", "free"):
        table.add_column(column, justify="left" if column in ("node", "layers") else "right")
    for line in prediction.memory:
        figures = line.system, line.resident, line.cache, line.free
        layers = line.layers if line.part == 1 else f"{line.layers}, {line.part:.0%} of each"
        table.add_row(line.node, str(line.ring), layers, *map(size, figures))
    return table


def _terms(prediction: Prediction) -> Table:
    """Of what the time of a token of one stream consists."""
    table = Table(box=None, pad_edge=False)
    table.add_column("a token of one stream")
    table.add_column("ms", justify="right")
    terms = prediction.terms
    for what, seconds in (
        ("weights of the layers, read by the slowest member", terms.weights_s),
        ("lm_head", terms.head_s),
        ("attention to the context", terms.cache_s),
        ("exchanges within the groups", terms.exchange_s),
        ("sampling, and the stages' own work", terms.stages_s),
        ("hops between stages and head", terms.hops_s),
        ("together", prediction.token_s),
    ):
        table.add_row(what, f"{1000 * seconds:.1f}")
    return table


def _together(prediction: Prediction) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("streams", "at once", "tokens/s together", "each", "watts", "J per token"):
        table.add_column(column, justify="right")
    for line in prediction.together:
        table.add_row(
            str(line.streams),
            str(line.at_once),
            speed(line.aggregate),
            speed(line.aggregate / line.at_once),
            f"{line.watts:.0f}",
            f"{line.watts / line.aggregate:.1f}",
        )
    return table

"""Tokens per second over the number of nodes, as a PNG. The only importer of matplotlib, late."""

from __future__ import annotations

import contextlib
import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from bramble.errors import BadInput, Broken
from bramble.model.manifest import Manifest
from bramble.plan.peers import tensor_parallel
from bramble.plan.predictor import Prediction, Setup, predict
from bramble.plan.rings import OBJECTIVES

MAX_NODES = 8  # on the axis, unless more are asked for
COLORS = dict(zip(OBJECTIVES, ("#8e2157", "#3f6f8f", "#c98a1b"), strict=True))
OTHERS = "#777777"
MATPLOTLIB = "matplotlib==3.11.2"  # as in pyproject.toml's extra `plot`


def plot(path: Path, manifest: Manifest, setup: Setup) -> None:
    """Draw the model on 1, 2, 3 … of the first board. Raises Broken without matplotlib."""
    pyplot = _pyplot()
    counts = range(1, max(MAX_NODES, len(setup.boards)) + 1)
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.5), layout="constrained")
    streams = max(setup.streams)
    for objective in OBJECTIVES:
        found = _predictions(manifest, setup, counts, objective)
        style = {"color": COLORS[objective], "marker": "o", "label": objective, "alpha": 0.8}
        for axis, figures in zip(axes, _figures(found, setup), strict=True):
            axis.plot(list(found), figures, **style)
    most = min(counts[-1], manifest.shape.num_kv_heads)  # its limit, beside powers of two
    peers = {count: tensor_parallel(manifest, count) for count in (1, 2, 4, 8) if count <= most}
    label = "tensor parallel, as distributed-llama"
    axes[1].plot(list(peers), list(peers.values()), "s--", color=OTHERS, label=label)
    titles = (
        f"{streams} streams together",
        "one stream",
        f"into the ring, one prompt of {setup.work.prompt}",
    )
    for axis, title in zip(axes, titles, strict=True):
        _finish(axis, counts, title)
    board, kind = setup.boards[0].name, manifest.quantization.layers
    figure.suptitle(f"{manifest.name} {kind} on {board}, {setup.link.name}: predicted")
    save(figure, path)


def _figures(found: dict[int, Prediction], setup: Setup) -> tuple[list[float], ...]:
    """Tokens per second: of all streams, of one, of a prompt."""
    return (
        [max(line.aggregate for line in each.together) for each in found.values()],
        [1 / each.token_s for each in found.values()],
        [setup.work.prompt / each.first_token_s for each in found.values()],
    )


def _predictions(
    manifest: Manifest, setup: Setup, counts: range, objective: str
) -> dict[int, Prediction]:
    """By number of nodes; what does not fit is left out."""
    found = {}
    for count in counts:
        with contextlib.suppress(BadInput):
            boards = setup.boards[:1] * count
            found[count] = predict(manifest, replace(setup, boards=boards, objective=objective))
    return found


def _finish(axis: Any, counts: range, title: str) -> None:
    axis.set_title(title)
    axis.set_xlabel("nodes")
    axis.set_ylabel("tokens/s")
    axis.set_xticks(list(counts))
    axis.set_ylim(bottom=0)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")


def new_axes(title: str) -> tuple[Any, Any]:
    """Return an empty figure and its axes. Raises Broken without matplotlib."""
    figure, axis = _pyplot().subplots(figsize=(6, 4), layout="constrained")
    figure.suptitle(title)
    return figure, axis


def save(figure: Any, path: Path) -> None:
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise BadInput(f"--plot {path}: cannot be written: {error}") from error


def _pyplot() -> Any:
    try:
        importlib.import_module("matplotlib").use("agg")  # no display needed
        return importlib.import_module("matplotlib.pyplot")
    except ModuleNotFoundError as error:
        raise Broken(
            f"--plot needs matplotlib, which is not installed here: pip install {MATPLOTLIB}"
        ) from error

"""The golden check: runs a written model folder in this one process and records what comes out.

One part is loaded at a time, so memory stays at the largest part. Beside stage/ this is the only
importer of onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bramble.errors import BadInput
from bramble.export.quantize import BITS
from bramble.model.digest import digest
from bramble.model.manifest import Golden, Manifest, Rope, Shape
from bramble.model.rope import tables

Array = NDArray[Any]
Run = Callable[[dict[str, Array]], list[NDArray[np.float32]]]  # inputs by name → outputs
NUM_TOP = 10

# Processors round activations to int8 differently (per block or per row). Leaving that rounding out
# altogether moves digests of 1B shapes by 0.04 to 0.06; a wrong layer moves them by about 1.
TOLERANCES = dict.fromkeys(BITS, 0.25) | {"float32": 1e-3}


@dataclass(frozen=True, slots=True)
class Range:
    """float32 (kv_heads, head_dim): the largest key and value of each channel, without sign."""

    keys: NDArray[np.float32]
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """What a text left behind in the written model.

    ranges    of each layer
    hidden    float32 (tokens, hidden_size) behind the last layer
    """

    token_ids: tuple[int, ...]
    ranges: list[Range]
    hidden: NDArray[np.float32]


def golden(
    folder: Path,
    manifest: Manifest,
    token_ids: tuple[int, ...],
    sample: tuple[int, ...],
    advance: Callable[[int], None],
) -> tuple[Golden, Sample]:
    """Run `token_ids` from an empty cache, and beside them `sample`, all but its lm_head.

    advance    is told of each part that ran

    Raises BadInput for a part that gives NaN or infinity.
    """
    feeds: list[dict[str, Array]] = [
        {"token_ids": np.array([ids], np.int32)} for ids in (token_ids, sample)
    ]
    (hidden,), (other,) = _run(folder, manifest, "embed", *feeds)
    digests, ranges = [digest(hidden[0, -1])], []
    advance(1)
    for index in range(manifest.shape.num_layers):
        part = manifest.layer_part(index).name
        feeds = [layer_feed(manifest.shape, manifest.rope, each) for each in (hidden, other)]
        (hidden, *caches), (other, *more) = _run(folder, manifest, part, *feeds)
        ranges.append(_range(caches, more))
        digests.append(digest(hidden[0, -1]))
        advance(1)
    logits = _run(folder, manifest, "lm_head", {"hidden": hidden[0, -1:]})[0][0][0]
    advance(1)
    top = np.argsort(-logits, kind="stable")[:NUM_TOP]
    kinds = manifest.quantization
    found = Golden(
        token_ids=token_ids,
        top_ids=tuple(int(index) for index in top),
        top_logits=tuple(float(logits[index]) for index in top),
        digests=tuple(tuple(float(number) for number in entry) for entry in digests),
        tolerance=max(TOLERANCES[kind] for kind in (kinds.layers, kinds.embed, kinds.lm_head)),
    )
    return found, Sample(sample, ranges, other[0])


def layer_feed(shape: Shape, rope: Rope, hidden: NDArray[np.float32]) -> dict[str, Array]:
    """All inputs of a layer that reads hidden float32 (1, t, hidden_size) with an empty cache."""
    length = hidden.shape[1]
    past = np.zeros((1, shape.num_kv_heads, length, shape.head_dim), np.float32)
    cos, sin = tables(rope, length)
    return {
        "hidden": hidden,
        "past_key": past,
        "past_value": past,
        "sequence_lengths": np.array([length - 1], np.int32),
        "total_length": np.array([length], np.int32),
        "cos": cos,
        "sin": sin,
    }


def check_finite(part: str, *outputs: NDArray[np.float32]) -> None:
    """Raise BadInput if a part's outputs are no numbers that a model could be made of."""
    if not all(np.isfinite(array).all() for array in outputs):
        raise BadInput(
            f"the model's {part} gives numbers that are not finite (NaN or infinity) for an "
            "ordinary text: its weights are damaged, or too large for float32; "
            "download the model again, or export another release"
        )


def load(model: Path | bytes) -> Run:
    """Load an ONNX model, from its file or as bytes; it is in memory as long as the result is."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    options.enable_cpu_mem_arena = False  # it grows by doubling, and keeps what it has
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)


def _range(*runs: list[NDArray[np.float32]]) -> Range:
    """Of keys and values float32 (1, kv_heads, tokens, head_dim) of several runs."""
    keys, values = (
        np.max([np.abs(run[i][0]).max(axis=1) for run in runs], axis=0) for i in range(2)
    )
    return Range(keys, values)


def _run(
    folder: Path, manifest: Manifest, name: str, *feeds: dict[str, Array]
) -> list[list[NDArray[np.float32]]]:
    """Load one part and return its outputs for each of `feeds`."""
    run = load(folder / manifest.part(name).onnx)
    found = [run(feed) for feed in feeds]
    check_finite(name, *(array for outputs in found for array in outputs))
    return found

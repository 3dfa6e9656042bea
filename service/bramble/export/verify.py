"""The golden check: runs a written model folder in this one process and records what comes out.

One part is loaded at a time, so memory stays at the largest part. Beside stage/ this is the only
importer of onnxruntime.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from bramble.model.digest import digest
from bramble.model.manifest import Golden, Manifest
from bramble.model.rope import tables

Array = NDArray[Any]
NUM_TOP = 10

# Processors round activations to int8 differently (per block or per row). Leaving that rounding out
# altogether moves digests of 1B shapes by 0.04 to 0.06; a wrong layer moves them by about 1.
TOLERANCES = {"float32": 1e-3, "int8": 0.25, "int4": 0.25}


def golden(
    folder: Path, manifest: Manifest, token_ids: tuple[int, ...], advance: Callable[[int], None]
) -> Golden:
    """Run `token_ids` from an empty cache; `advance` is told of each part that ran."""
    feed: dict[str, Array] = {"token_ids": np.array([token_ids], np.int32)}
    hidden = _run(folder, manifest, "embed", feed)
    digests = [digest(hidden[0, -1])]
    advance(1)
    for index in range(manifest.shape.num_layers):
        part = manifest.layer_part(index).name
        hidden = _run(folder, manifest, part, _layer_feed(manifest, hidden))
        digests.append(digest(hidden[0, -1]))
        advance(1)
    logits = _run(folder, manifest, "lm_head", {"hidden": hidden[0, -1:]})[0]
    advance(1)
    top = np.argsort(-logits, kind="stable")[:NUM_TOP]
    kinds = manifest.quantization
    return Golden(
        token_ids=token_ids,
        top_ids=tuple(int(index) for index in top),
        top_logits=tuple(float(logits[index]) for index in top),
        digests=tuple(tuple(float(number) for number in entry) for entry in digests),
        tolerance=max(TOLERANCES[kind] for kind in (kinds.layers, kinds.embed, kinds.lm_head)),
    )


def _layer_feed(manifest: Manifest, hidden: NDArray[np.float32]) -> dict[str, Array]:
    shape, length = manifest.shape, hidden.shape[1]
    past = np.zeros((1, shape.num_kv_heads, length, shape.head_dim), np.float32)
    cos, sin = tables(manifest.rope, length)
    return {
        "hidden": hidden,
        "past_key": past,
        "past_value": past,
        "sequence_lengths": np.array([length - 1], np.int32),
        "total_length": np.array([length], np.int32),
        "cos": cos,
        "sin": sin,
    }


def _run(
    folder: Path, manifest: Manifest, name: str, feed: dict[str, Array]
) -> NDArray[np.float32]:
    """Load one part, run it once and return its first output."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(
        folder / manifest.part(name).onnx, options, providers=["CPUExecutionProvider"]
    )
    output: NDArray[np.float32] = session.run([session.get_outputs()[0].name], feed)[0]
    return output

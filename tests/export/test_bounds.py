"""How large keys, values and queries can get is known from the weights, before anything is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bramble.export.api import Options, export
from bramble.export.architectures import describe
from bramble.export.bounds import cache_bound, key_bias
from bramble.export.original import Original
from bramble.export.safetensors import Checkpoint
from bramble.export.source import read_settings
from bramble.model.manifest import LARGEST_HALF
from safetensors.numpy import load_file, save_file

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("case", ["llama3", "qwen2", "qwen3"])
def test_no_key_value_or_scaled_query_of_a_text_exceeds_the_bound(case: str) -> None:
    decoder = describe(read_settings(GOLDEN / case)[0])
    weights = Checkpoint(GOLDEN / case)
    kind = "norm" if decoder.has_qk_norm else "proj"
    taps = (f"self_attn.q_{kind}", f"self_attn.k_{kind}", "self_attn.v_proj")
    found = [
        [np.abs(each).max() for each in tapped]
        for _, tapped in Original(decoder, weights).layers(tuple(range(0, 96, 3)), taps)
    ]
    queries, keys, values = np.max(found, axis=0)
    largest = max(queries * decoder.shape.head_dim**-0.5, keys, values)
    bound = cache_bound(decoder, weights)
    assert largest < bound < 30 * largest


@pytest.mark.parametrize("case", ["llama3", "qwen2"])
def test_the_largest_bias_of_a_key_is_told(case: str) -> None:
    decoder = describe(read_settings(GOLDEN / case)[0])
    tensors = load_file(GOLDEN / case / "model.safetensors")
    found = [np.abs(t).max() for name, t in tensors.items() if name.endswith("k_proj.bias")]
    assert key_bias(decoder, Checkpoint(GOLDEN / case)) == max(found, default=0.0)


@pytest.mark.parametrize(
    "name",
    [
        "self_attn.q_proj.weight",
        "self_attn.k_proj.weight",
        "self_attn.v_proj.weight",
        "self_attn.k_proj.bias",
        "input_layernorm.weight",
    ],
)
def test_an_export_whose_numbers_may_exceed_float16_says_so(name: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in (GOLDEN / "qwen2").iterdir():
        (source / path.name).symlink_to(path)
    tensors = load_file(source / "model.safetensors")
    full = f"model.layers.1.{name}"
    changed = tensors[full].astype(np.float32)
    changed.reshape(-1)[0] = 100_000.0
    (source / "model.safetensors").unlink()
    save_file(tensors | {full: changed}, source / "model.safetensors")
    made = export(str(source), tmp_path / "made", Options(quantization="float32"))
    assert made.cache_bound > LARGEST_HALF / 2
    warning = made.extra["warnings"][-1]
    assert f"{made.cache_bound:,.0f}" in warning and "float16 KV cache" in warning
    assert replace(made, cache_bound=1.0).check_cache("float16") is None

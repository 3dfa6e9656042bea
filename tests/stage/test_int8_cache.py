"""A KV cache of int8: a quarter of the memory, nearly the same logits, the same rules."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from bramble.errors import BadInput
from bramble.head.ring import CACHE_TOLERANCES
from bramble.model import manifest as manifests
from bramble.model.digest import error
from bramble.stage.engine import Engine
from ring import Ring, assign

PROMPT = [7, 9, 30, 4, 11, 50, 51, 3, 99, 8, 7]
# Of the largest logit. One step of int8 is 1/85 of the largest key of the sample; three layers of
# random weights make 0.02 of it, and 0.08 where head norms are random too. A wrong scale: about 1.
ATOL = 0.15


def ring(folder, num_stages=1, kv_cache="int8", packed=None) -> Ring:
    made = Ring(folder, 0)
    manifest = manifests.read(folder)
    for stage in range(num_stages):
        shard = assign(manifest, stage, num_stages, kv_cache=kv_cache)
        made.engines.append(Engine(folder, manifest, shard, 1, packed))
    made.num_stages = num_stages
    return made


def logits(ring: Ring, tokens=PROMPT) -> np.ndarray:
    """Of the last token, after a prefill and, for the rest, one decode each."""
    ring.prefill(tokens[:-2])
    for i in (-2, -1):
        ring.decode([tokens[i]], [len(tokens) + i])
    engine = ring.engines[-1]
    return engine._shard.logits(engine._shard._batch((0, 1, 1)).output[:, -1]).copy()


@pytest.mark.parametrize("case", ["llama3", "qwen3"])
@pytest.mark.parametrize("quantization", ["float32", "int4"])
def test_the_logits_are_nearly_those_of_a_float_cache(case, quantization, model):
    folder = model(case, quantization)
    want = logits(ring(folder, kv_cache="float32"))
    got = logits(ring(folder))
    difference = np.abs(got - want).max() / np.abs(want).max()
    assert 0 < difference < ATOL


def test_a_token_takes_a_quarter_of_the_memory(model):
    used = []
    for kind in ("float32", "int8"):
        made = ring(model("llama3", "int4"), kv_cache=kind)
        made.prefill(PROMPT)
        used.append(made.engines[0].kv_used_bytes)
    assert used[0] == 4 * used[1] > 0


def test_two_stages_give_the_same_tokens_as_one(model):
    folder = model("llama3", "int4")
    assert ring(folder, 2).generate(PROMPT, 12) == ring(folder).generate(PROMPT, 12)


def test_a_swapped_row_goes_on_as_before(model):
    want = ring(model("llama3", "int4")).generate(PROMPT, 4)
    made = ring(model("llama3", "int4"))
    tokens, swaps = made.generate(PROMPT, 1), ((0, 3, len(PROMPT)),)
    for i in range(3):
        ids = np.array([0], np.uint64)
        result = made.decode(
            [tokens[-1]], [len(PROMPT) + i], 3, is_sampled=True, sequences=ids, swaps=swaps
        )
        tokens, swaps = [*tokens, int(result.token_ids[0])], ()
    assert tokens == want


def test_packed_weights_give_the_same_bits(model, tmp_path):
    folder = model("llama3", "int4")
    want = logits(ring(folder))
    for _ in range(2):
        np.testing.assert_array_equal(logits(ring(folder, packed=tmp_path)), want)
    float_cache = logits(ring(folder, kv_cache="float32", packed=tmp_path))
    np.testing.assert_array_equal(float_cache, logits(ring(folder, kv_cache="float32")))


def test_a_layer_with_an_int8_cache_is_a_standalone_model(model):
    folder = model("llama3", "int4")
    path = folder / manifests.read(folder).graph("layer-000", "int8")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    kinds = {value.name: value.type for value in session.get_inputs()}
    assert kinds["past_key"] == kinds["past_value"] == "tensor(int8)"


def test_a_model_that_was_exported_without_it_says_what_to_do(model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model("llama3", "int4"), folder)
    manifest = manifests.read(folder)
    old = replace(manifest, parts=tuple(replace(p, int8_cache="") for p in manifest.parts))
    with pytest.raises(BadInput, match="exported without an int8 KV cache; export the model again"):
        Engine(folder, old, assign(old, kv_cache="int8"), 1)


def test_a_kind_of_cache_that_does_not_exist_is_refused(model):
    with pytest.raises(BadInput, match="a KV cache of 'int2' was assigned"):
        ring(model("llama3", "int4"), kv_cache="int2")


@pytest.mark.parametrize("case", ["llama2", "llama3", "mistral", "qwen2", "qwen3"])
def test_the_golden_check_passes_with_its_wider_tolerance(case, model):
    folder = model(case)  # float32, whose own tolerance is 1e-3
    golden = manifests.read(folder).golden
    result = ring(folder).prefill(list(golden.token_ids), is_check=True)
    difference = error(result.digest, golden.digests[-1])
    assert golden.tolerance < difference < CACHE_TOLERANCES["int8"] / 3

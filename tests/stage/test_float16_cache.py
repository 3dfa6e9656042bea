"""A KV cache of float16: half the memory, the same logits but for its rounding, the same rules."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from bramble.errors import BadInput
from bramble.head.ring import CACHE_TOLERANCES
from bramble.model import manifest as manifests
from bramble.model.digest import error
from bramble.stage.engine import Engine
from bramble.wire.messages import Open, Sampling, StepKind
from ring import Logits, Ring, assign

PROMPT = [7, 9, 30, 4, 11, 50, 51, 3, 99, 8, 7]
REPLY = [3, 41, 41, 9, 77, 12, 60, 5, 5, 90, 33, 2, 71, 18, 64, 23]
ASKED = Sampling(temperature=0.0, top_logprobs=20)
CASES = ["llama2", "llama3", "mistral", "qwen2", "qwen3"]
# Of a position's norm: keys, values and queries have 11 bits, three layers of random weights make
# 0.004 of it. Where activations are rounded to int8 too, those that fall otherwise make 0.05.
ATOL = {"float32": 0.01, "int4": 0.1}


def logits(folder: Path, kv_cache: str) -> np.ndarray:
    ring = Logits(folder, kv_cache=kv_cache)
    decoded = [ring.decode_logits([token], [11 + i]) for i, token in enumerate(REPLY)]
    return np.concatenate([ring.prefill_logits(PROMPT), *decoded])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("quantization", ["float32", "int4"])
def test_the_logits_are_nearly_those_of_a_float32_cache(case, quantization, model):
    want, got = (logits(model(case, quantization), kind) for kind in ("float32", "float16"))
    distance = np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)
    assert 0 < distance.max() < ATOL[quantization]


def test_a_token_takes_half_of_the_memory(model):
    used = []
    for kind in ("float32", "float16"):
        made = Ring(model("llama3", "int4"), kv_cache=kind)
        made.prefill(PROMPT)
        used.append(made.engines[0].kv_used_bytes)
    assert used[0] == 2 * used[1] > 0


def test_two_stages_give_the_same_tokens_as_one(model):
    folder = model("llama3", "int4")
    rings = [Ring(folder, count, kv_cache="float16") for count in (1, 2)]
    assert rings[0].generate(PROMPT, 12) == rings[1].generate(PROMPT, 12)


def test_a_copied_beginning_goes_on_as_the_one_that_was_read(model):
    ring = Ring(model("llama3", "int4"), kv_cache="float16")
    want = ring.generate(PROMPT, 1, 0, ASKED), ring.decode([3], [11], is_sampled=True)
    copies = ((0, 2, 0, len(PROMPT)),)
    opened = Open(9, len(PROMPT), ASKED, tuple(PROMPT))
    ids = np.array([9], np.uint64)
    got = ring.decode([3], [11], 2, copies=copies, opens=(opened,), sequences=ids, is_sampled=True)
    np.testing.assert_array_equal(got.top_logprobs, want[1].top_logprobs)


def read(ring: Ring) -> None:
    ring.prefill(PROMPT, opens=(Open(0, len(PROMPT), ASKED),), is_sampled=True)


def end(ring: Ring) -> list[np.ndarray]:
    """Return the bits that a step behind the reply is made of, at each stage."""
    position = len(PROMPT) + len(REPLY) - 1
    first, last = ring.run(ring.step(StepKind.DECODE, [[REPLY[-1]]], [position], is_sampled=True))
    return [first.hidden.copy(), last.top_logprobs, last.top_ids]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("quantization", ["int4", "float32"])
def test_a_replayed_reply_has_the_bits_of_a_decoded_one(case, quantization, model):
    rings = [Ring(model(case, quantization), 2, kv_cache="float16") for _ in range(2)]
    for ring in rings:
        read(ring)
    for start, stop in ((0, 1), (1, 6), (6, 15)):
        rings[0].run(rings[0].step(StepKind.REPLAY, [REPLY[start:stop]], [len(PROMPT) + start]))
    for index, token in enumerate(REPLY[:-1]):
        rings[1].decode([token], [len(PROMPT) + index], is_sampled=True)
    for got, want in zip(end(rings[0]), end(rings[1]), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_guesses_that_came_true_have_the_bits_of_single_steps(quantization, model):
    folder = model("llama3", quantization)
    alone = Ring(folder, kv_cache="float16")
    reply = alone.generate(PROMPT, 9, 0, ASKED)
    want = alone.decode([reply[-1]], [len(PROMPT) + 8], is_sampled=True)
    ring = Ring(folder, kv_cache="float16")
    ring.generate(PROMPT, 1, 0, ASKED)
    found = ring.verify(reply, len(PROMPT))
    assert found.token_ids.tolist()[:-1] == reply[1:]
    np.testing.assert_array_equal(found.top_logprobs[-1:], want.top_logprobs)


@pytest.mark.parametrize("case", CASES)
def test_the_golden_check_passes_with_its_wider_tolerance(case, model):
    folder = model(case)  # float32, whose own tolerance is 1e-3
    golden = manifests.read(folder).golden
    result = Ring(folder, kv_cache="float16").prefill(list(golden.token_ids), is_check=True)
    assert 0 < error(result.digest, golden.digests[-1]) < CACHE_TOLERANCES["float16"] / 10


def test_all_layers_share_one_session_of_attention(model):
    manifest = manifests.read(model("llama3", "int4"))
    files = {manifest.graphs(part.name, "float16")[1] for part in manifest.parts if part.cut}
    assert len(files) == 1 < manifest.shape.num_layers
    engine = Ring(model("llama3", "int4"), kv_cache="float16").engines[0]
    batch = engine._shard._batch((0, 1, 1))
    assert len({id(layer.attention.session) for layer in batch.layers}) == 1


def test_its_attention_is_a_standalone_model(model):
    folder = model("llama3", "int4")
    path = folder / manifests.read(folder).graphs("layer-000", "float16")[1]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    kinds = {value.name: value.type for value in session.get_inputs()}
    assert kinds["past_key"] == kinds["cos"] == "tensor(float16)"
    assert session.get_outputs()[0].type == "tensor(float)"


def test_a_model_that_was_exported_without_it_says_what_to_do(model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model("llama3", "int4"), folder)
    manifest = manifests.read(folder)
    parts = tuple(
        replace(part, cut=replace(part.cut, float16_attention="")) if part.cut else part
        for part in manifest.parts
    )
    old = replace(manifest, parts=parts)
    with pytest.raises(
        BadInput, match="exported without a float16 KV cache; export the model again"
    ):
        Engine(folder, old, assign(old, kv_cache="float16"), 1)


def test_a_stage_refuses_it_for_a_model_whose_numbers_may_be_too_large(model):
    folder = model("llama3", "int4")
    large = replace(manifests.read(folder), cache_bound=33_000.0)
    with pytest.raises(BadInput, match="values or queries of 33,000, and a float16 KV cache holds"):
        Engine(folder, large, assign(large, kv_cache="float16"), 1)

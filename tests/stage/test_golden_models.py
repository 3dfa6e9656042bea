"""Engines against logits that transformers computed; see tests/golden/make_goldens.py."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from bramble.model import manifest as manifests
from bramble.model.digest import error
from bramble.stage.engine import Engine
from bramble.wire.messages import Sampling, StepKind
from ring import GOLDENS, Logits, Ring, assign

CASES = ("llama2", "llama3", "mistral", "qwen2", "qwen3")
ATOL = 1e-4  # the contract's: float32 sums in another order, over 64 tokens and 3 layers


@pytest.fixture(params=CASES)
def case(request):
    return request.param


def golden(case):
    return dict(np.load(GOLDENS / case / "golden.npz"))


def test_prefill_and_decode_give_the_reference_logits(case, model):
    ring, want = Logits(model(case)), golden(case)
    got = ring.prefill_logits(want["prompt_0"])
    np.testing.assert_allclose(got, want["prefill_logits_0"], rtol=0, atol=ATOL)
    for i, token in enumerate(want["decoded_0"]):
        got = ring.decode_logits([token], [48 + i])
        np.testing.assert_allclose(got[0], want["decode_logits_0"][i], rtol=0, atol=ATOL)


@pytest.mark.parametrize("chunks", [(1, 2, 45), (17, 31), (47, 1), (5, 6, 7, 8, 22)])
def test_uneven_chunks_give_the_reference_logits(case, chunks, model):
    ring, want = Logits(model(case)), golden(case)
    got, start = [], 0
    for size in chunks:
        got.append(ring.prefill_logits(want["prompt_0"][start : start + size], start))
        start += size
    np.testing.assert_allclose(np.concatenate(got), want["prefill_logits_0"], rtol=0, atol=ATOL)


def test_three_lengths_in_one_batch_give_the_reference_logits(case, model):
    ring, want = Logits(model(case)), golden(case)
    lengths = [len(want[f"prompt_{j}"]) for j in range(3)]
    for row in range(3):
        ring.prefill_logits(want[f"prompt_{row}"], row=row)
    for i in range(16):
        tokens = [want[f"decoded_{j}"][i] for j in range(3)]
        got = ring.decode_logits(tokens, [length + i for length in lengths])
        for j in range(3):
            np.testing.assert_allclose(got[j], want[f"decode_logits_{j}"][i], rtol=0, atol=ATOL)


@pytest.mark.parametrize("num_stages", [2, 3, 5])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0.0), Sampling(seed=7, top_p=0.9)])
def test_any_number_of_stages_gives_the_same_tokens(num_stages, sampling, model):
    prompt = golden("llama3")["prompt_1"].tolist()
    alone = Ring(model("llama3")).generate(prompt, 24, sampling=sampling)
    assert Ring(model("llama3"), num_stages).generate(prompt, 24, sampling=sampling) == alone


@pytest.mark.parametrize("quantization", ["float32", "int8", "int4"])
def test_the_ring_passes_its_own_golden_check(quantization, model):
    folder = model("qwen3", quantization)
    manifest = manifests.read(folder)
    ring, want = Ring(folder, 3), manifest.golden
    results = ring.run(ring.step(StepKind.PREFILL, [want.token_ids], [0], is_check=True))
    for index, result in enumerate(results):
        assert error(result.digest, want.digests[index + 1]) <= 1e-5


def test_a_batch_gives_each_sequence_the_bits_it_has_alone(case, model):
    want = golden(case)
    alone = []
    for j in range(3):
        ring = Logits(model(case))
        ring.prefill_logits(want[f"prompt_{j}"])
        alone.append(ring.decode_logits([5], [len(want[f"prompt_{j}"])])[0])
    ring = Logits(model(case))
    for j in range(3):
        ring.prefill_logits(want[f"prompt_{j}"], row=j)
    together = ring.decode_logits([5, 5, 5], [len(want[f"prompt_{j}"]) for j in range(3)])
    np.testing.assert_array_equal(together, alone)


def test_the_engine_needs_only_its_own_parts(model, tmp_path):
    folder = model("llama2")
    manifest = manifests.read(folder)
    (tmp_path / "shards").mkdir()
    for name in manifest.part_files(["layer-001"]):
        shutil.copy(folder / name, tmp_path / name)
    Engine(tmp_path, manifest, assign(manifest, 1, 3), 1)

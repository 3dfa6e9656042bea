"""Rounding that makes up for its errors: nearer to the outputs that count, format unchanged."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from bramble.errors import BadInput
from bramble.export import compensate
from bramble.export.api import EMBEDDED, Options, export, export_embedded
from bramble.export.calibration import NUM_TOKENS, calibration_ids
from bramble.export.compensate import CHUNK, Inputs, can_compensate, inputs
from bramble.export.quantize import BLOCK, dequantize, quantize
from safetensors.numpy import load_file, save_file

KINDS = ("int4", "int4-64", "int4-128-symmetric", "int4-128")
SIZE = CHUNK + 128  # one whole chunk and a shorter one


@pytest.fixture(scope="module")
def weights() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((96, SIZE), np.float32)


def seen(seed: int, num_tokens: int = 1000) -> np.ndarray:
    """Inputs that move together, as a hidden state's do, some of them much larger than others."""
    random = np.random.default_rng(seed)
    mixing = np.random.default_rng(9).standard_normal((SIZE // 4, SIZE), np.float32)
    own = 0.3 * random.standard_normal((num_tokens, SIZE), np.float32)
    sizes = np.exp(np.random.default_rng(8).standard_normal(SIZE, np.float32))
    return (random.standard_normal((num_tokens, SIZE // 4), np.float32) @ mixing / 8 + own) * sizes


def error(weights: np.ndarray, rounded: np.ndarray, inputs: np.ndarray) -> float:
    return float(np.mean((inputs @ (weights - rounded).T) ** 2))


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_for_inputs_that_were_never_seen_are_nearer(weights: np.ndarray, kind: str) -> None:
    plain = dequantize(quantize(weights, kind), kind)
    made = dequantize(compensate.quantize(weights, kind, inputs(seen(1))), kind)
    assert error(weights, made, seen(2)) < 0.6 * error(weights, plain, seen(2))


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_that_have_nothing_in_common_change_little(weights: np.ndarray, kind: str) -> None:
    known = inputs(np.random.default_rng(3).standard_normal((4000, SIZE), np.float32))
    fresh = np.random.default_rng(4).standard_normal((1000, SIZE), np.float32)
    plain = dequantize(quantize(weights, kind), kind)
    made = dequantize(compensate.quantize(weights, kind, known), kind)
    assert error(weights, made, fresh) < 1.02 * error(weights, plain, fresh)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_behind_one_takes_on_its_share_of_the_error(
    weights: np.ndarray, kind: str
) -> None:
    """As the paper writes it, a weight at a time, from the scales and zero points chosen."""
    known = inputs(seen(1))
    made = compensate.quantize(weights, kind, known)
    got, scales = dequantize(made, kind), np.repeat(made.scales, BLOCK[kind], axis=1)
    zeros = np.full(scales.shape, 8)
    if made.zeros is not None:  # two in a byte
        pairs = np.stack([made.zeros & 15, made.zeros >> 4], axis=-1).reshape(len(weights), -1)
        zeros = np.repeat(pairs[:, : made.scales.shape[1]].astype(int), BLOCK[kind], axis=1)
    for start, shares in zip((0, CHUNK), known.shares, strict=True):
        rest = weights[:, start : start + CHUNK].astype(np.float64)
        for i, row in enumerate(shares):
            at = start + i
            wanted = rest[:, i] / scales[:, at]
            level = np.clip(wanted, -zeros[:, at], 15 - zeros[:, at])
            assert np.abs(got[:, at] / scales[:, at] - level).max() < 0.51
            rest[:, i + 1 :] -= (rest[:, i] - got[:, at])[:, None] * row[i + 1 :]


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_and_inputs_that_were_never_anything_survive(kind: str) -> None:
    rows = np.zeros((3, 256), np.float32)
    rows[1] = -2.5
    made = dequantize(compensate.quantize(rows, kind, inputs(np.zeros((5, 256), np.float32))), kind)
    np.testing.assert_allclose(made, rows, rtol=1e-6)


def test_coarse_kinds_alone_are_worth_it() -> None:
    kinds = (*KINDS, "int8", "float32")
    assert [kind for kind in kinds if can_compensate(kind)] == list(KINDS)


def test_what_is_known_covers_every_input_once() -> None:
    known: Inputs = inputs(seen(1))
    assert [len(each) for each in known.importance] == [CHUNK, SIZE - CHUNK]
    assert [each.shape for each in known.shares] == [(CHUNK, CHUNK), (SIZE - CHUNK,) * 2]


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_comes_nearer_to_the_original(kind: str, tmp_path) -> None:
    made = export_embedded(tmp_path / "made", Options(kind))
    plain = export_embedded(tmp_path / "plain", Options(kind, is_calibrated=False))
    assert made.fidelity.divergence < 0.7 * plain.fidelity.divergence
    assert made.fidelity.same_first > plain.fidelity.same_first


def test_the_text_fits_the_model() -> None:
    class Wordy:
        def encode(self, text: str) -> list[int]:
            return list(range(len(text)))

        def encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
            return [7] * sum(len(message["content"]) for message in messages)

    assert len(calibration_ids(Wordy(), 1 << 20, 8192)) == NUM_TOKENS
    assert len(calibration_ids(Wordy(), 1 << 20, 100)) == 100
    assert set(calibration_ids(Wordy(), 5, 8192)) == set(range(5))
    assert calibration_ids(Wordy(), 0, 8192) == (0, 0)


def test_a_checkpoint_with_numbers_that_are_not_finite_is_refused(tmp_path) -> None:
    source = shutil.copytree(EMBEDDED, tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    tensors["model.layers.3.mlp.up_proj.weight"][7, 9] = np.inf
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match="not finite"):
        export(str(source), tmp_path / "made", Options("int4"))
    assert [path.name for path in tmp_path.iterdir()] == ["source"]

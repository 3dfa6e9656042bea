"""Rotary tables against the formulas, in float64."""

from __future__ import annotations

import numpy as np
import pytest
from bramble.errors import BadInput
from bramble.model.manifest import Rope
from bramble.model.rope import frequencies, tables

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_tables_are_the_cosines_and_sines_of_position_times_frequency() -> None:
    cos, sin = tables(Rope(10000.0, 8), 100)
    angles = np.arange(100)[:, None] * 10000.0 ** (-np.arange(0, 8, 2) / 8)
    # float32 angles up to 99 radians
    np.testing.assert_allclose(cos, np.cos(angles), atol=1e-5)
    np.testing.assert_allclose(sin, np.sin(angles), atol=1e-5)
    assert cos.dtype == np.float32 and cos.shape == (100, 4)


def test_linear_scaling_stretches_positions() -> None:
    cos, _ = tables(Rope(10000.0, 8, {"rope_type": "linear", "factor": 4.0}), 41)
    np.testing.assert_allclose(cos[40], tables(Rope(10000.0, 8), 11)[0][10], atol=1e-6)


def test_llama3_keeps_fast_frequencies_and_slows_the_slow() -> None:
    plain = frequencies(Rope(500000.0, 128))
    ratio = frequencies(Rope(500000.0, 128, LLAMA3)) / plain
    np.testing.assert_allclose(ratio[:20], 1)
    np.testing.assert_allclose(ratio[-20:], 1 / 8, rtol=1e-6)
    assert (np.diff(ratio) <= 1e-6).all()


@pytest.mark.parametrize("kind", ["dynamic", "longrope", "proportional"])
def test_other_scalings_are_refused_by_name(kind: str) -> None:
    with pytest.raises(BadInput, match=f"'{kind}' is not supported; supported are default"):
        tables(Rope(10000.0, 8, {"rope_type": kind}), 4)


def test_a_scaling_without_its_numbers_is_refused() -> None:
    with pytest.raises(BadInput, match="factor = None"):
        tables(Rope(10000.0, 8, {"rope_type": "linear"}), 4)

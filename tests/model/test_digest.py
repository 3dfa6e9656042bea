"""A digest differs as much as the hidden state does, whatever its size."""

from __future__ import annotations

import numpy as np
import pytest
from bramble.model.digest import digest, error, signs


@pytest.fixture
def hidden() -> np.ndarray:
    return np.random.default_rng(0).standard_normal(2048).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-3, 1, 1e4])
@pytest.mark.parametrize("noise", [1e-4, 1e-2, 0.3])
def test_error_is_about_the_relative_noise(hidden: np.ndarray, scale: float, noise: float) -> None:
    other = np.random.default_rng(1).standard_normal(2048).astype(np.float32)
    expected = digest(scale * hidden)
    got = digest(scale * (hidden + np.float32(noise) * other))
    assert 0.3 * noise < error(got, expected) < 3 * noise


def test_a_permuted_hidden_state_of_the_same_norm_differs(hidden: np.ndarray) -> None:
    assert error(digest(hidden[::-1]), digest(hidden)) > 0.1


def test_one_wild_element_is_seen(hidden: np.ndarray) -> None:
    wild = hidden.copy()
    wild[77] = 1e6
    assert error(digest(wild), digest(hidden)) > 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_a_number_differs(hidden: np.ndarray, bad: float) -> None:
    expected = digest(hidden)
    hidden[5] = bad
    assert error(digest(hidden), expected) == np.inf


def test_signs_are_the_same_on_every_machine() -> None:
    # splitmix64 of seed 0 begins e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f, f88b…
    assert signs(4)[0].tolist() == [-1, 1, -1, 1]
    assert abs(signs(4096).mean()) < 0.02

"""Partial sums on the wire: exact in float32, bounded in the others, the same bits for all."""

from __future__ import annotations

import numpy as np
import pytest
from bramble.errors import BadInput, Broken
from bramble.stage.exchange.forms import FORMS, Span, blocks_per_row, form_of
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

Q8 = form_of("q8")
FINITE = arrays.arrays(
    np.float32, st.integers(1, 200), elements=st.floats(-(2.0**100), 2.0**100, width=32)
)


def whole(rows: int, hidden: int) -> Span:
    return Span(hidden, 0, rows * blocks_per_row(hidden))


def through(form, values, rows, hidden):
    """What a member has of values that went through a form."""
    total, span = np.empty_like(values), whole(rows, hidden)
    form.sum([form.pack(values, span)], span, total)
    return total


def plain_q8(block):
    """Reference in float64: one block, its scale rounded up to a float32's upper half."""
    largest = np.abs(block).max()
    if largest < np.uint32(0x1000_0000).view(np.float32):
        return np.zeros_like(block)
    scale = (largest / np.float32(127.0)).astype(np.float32)
    upper = np.uint32(((int(scale.view(np.uint32)) + 0xFFFF) >> 16) << 16).view(np.float32)
    inverse = np.float32(1.0) / upper
    return upper * np.rint((block * inverse).astype(np.float32))


@given(FINITE)
@settings(max_examples=80, deadline=None)
def test_q8_rounds_as_the_reference_does_to_the_bit(values):
    padded = np.zeros(-(-len(values) // 32) * 32, np.float32)
    padded[: len(values)] = values
    wanted = np.concatenate([plain_q8(block) for block in padded.reshape(-1, 32)])
    np.testing.assert_array_equal(through(Q8, values, 1, len(values)), wanted[: len(values)])


@given(FINITE)
@settings(max_examples=100, deadline=None)
def test_q8_is_within_half_a_step_of_the_largest_of_its_block(values):
    found = through(Q8, values, 1, len(values))
    for start in range(0, len(values), 32):
        block, got = values[start : start + 32], found[start : start + 32]
        bound = np.abs(block).max().astype(np.float64) * (0.5 / 127) * (1 + 1 / 64) + 2.6e-29
        assert np.abs(got.astype(np.float64) - block).max() <= bound


@given(FINITE)
@settings(max_examples=50, deadline=None)
def test_what_was_rounded_once_is_not_rounded_further(values):
    once = through(Q8, values, 1, len(values))
    twice = through(Q8, once, 1, len(values))
    step = np.abs(once).max() / 64
    assert np.abs(once.astype(np.float64) - twice).max() <= step
    for name in ("float32", "float16"):
        small = np.clip(values, -6e4, 6e4)
        once = through(form_of(name), small, 1, len(small))
        np.testing.assert_array_equal(through(form_of(name), once, 1, len(once)), once)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", FORMS)
def test_what_is_not_finite_never_becomes_a_number(name, bad):
    values = np.ones(96, np.float32)
    values[40] = bad
    found = through(form_of(name), values, 1, 96)
    assert not np.isfinite(found[40])
    np.testing.assert_allclose(found[64:], 1.0, rtol=0.01)


def test_float16_refuses_what_it_cannot_hold():
    with pytest.raises(Broken, match="65504"):
        form_of("float16").pack(np.full(32, 66_000, np.float32), whole(1, 32))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("rows, hidden", [(1, 2048), (7, 50), (3, 5), (4, 96)])
@pytest.mark.parametrize("parts", [1, 2, 3, 7])
def test_ranges_give_the_bits_of_the_whole(name, rows, hidden, parts):
    form, random = form_of(name), np.random.default_rng(1)
    addends = [random.standard_normal(rows * hidden, np.float32) for _ in range(3)]
    wanted, found = np.empty_like(addends[0]), np.empty_like(addends[0])
    span = whole(rows, hidden)
    form.sum([form.pack(one, span) for one in addends], span, wanted)
    num_bytes = 0
    for part in span.split(parts):
        packed = [form.pack(one, part) for one in addends]
        assert {len(one) for one in packed} == {form.num_bytes(part)}
        form.sum(packed, part, found)
        num_bytes += form.num_bytes(part)
    np.testing.assert_array_equal(found, wanted)
    assert num_bytes == form.num_bytes(span)


def test_q8_takes_34_bytes_for_32_values():
    assert Q8.num_bytes(whole(1, 2048)) == 2176


def test_another_form_is_refused():
    with pytest.raises(BadInput, match="got 'q4', need one of float32, float16, q8"):
        form_of("q4")

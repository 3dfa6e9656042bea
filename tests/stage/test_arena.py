"""Rows are swapped, trimmed and bounded, and their memory comes back."""

from __future__ import annotations

import errno
import mmap

import numpy as np
import pytest
from bramble.errors import Broken, CacheFull
from bramble.stage.arena import Arena, ArenaShape

SHAPE = ArenaShape(num_layers=2, num_rows=3, num_kv_heads=2, max_length=640, head_dim=16)


@pytest.fixture
def arena():
    return Arena(SHAPE, 1 << 30)


def fill(arena, row, length, value):
    arena.extend(row, [length])
    for layer in range(SHAPE.num_layers):
        arena.keys(layer, row, 1)[0, :, :length] = value
        arena.values(layer, row, 1)[0, :, :length] = -value


def row_values(arena, row, length):
    """The distinct values of keys, and of values, in a row's first tokens."""
    keys = [arena.keys(layer, row, 1)[0, :, :length] for layer in range(SHAPE.num_layers)]
    values = [arena.values(layer, row, 1)[0, :, :length] for layer in range(SHAPE.num_layers)]
    return set(np.unique(keys)) | set(np.unique(values))


def test_views_alias_the_arena_and_are_contiguous(arena):
    view = arena.keys(1, 0, 3)
    view[2] = 5
    assert view.flags.c_contiguous
    assert (arena.keys(1, 2, 1) == 5).all()
    assert not arena.values(1, 0, 3).any()


def test_swap_exchanges_rows_of_different_lengths(arena):
    fill(arena, 0, 600, 1)
    fill(arena, 2, 9, 2)
    arena.swap(0, 2, 600)
    assert row_values(arena, 2, 600) == {1, -1}
    assert row_values(arena, 0, 9) == {2, -2}
    assert arena.used_bytes == 609 * SHAPE.token_bytes


def test_swap_with_an_empty_row_moves(arena):
    fill(arena, 1, 600, 3)
    arena.swap(0, 1, 600)
    assert row_values(arena, 0, 600) == {3, -3}
    assert row_values(arena, 1, 600) == {0}
    assert arena.used_bytes == 600 * SHAPE.token_bytes


def test_copy_extends_a_row_by_anothers_tokens(arena):
    fill(arena, 0, 600, 1)
    fill(arena, 2, 9, 2)
    arena.copy(0, 2, 5, 500)
    assert row_values(arena, 2, 5) == {2, -2}
    assert row_values(arena, 2, 500) == {2, -2, 1, -1}
    assert row_values(arena, 0, 600) == {1, -1}
    assert row_values(arena, 1, 640) == {0}
    assert arena.used_bytes == 1100 * SHAPE.token_bytes


@pytest.mark.parametrize("span", [(0, 7), (3, 5), (2, 2)])
def test_a_copy_of_what_is_not_there_is_refused(arena, span):
    fill(arena, 0, 6, 1)
    fill(arena, 1, 2, 2)
    with pytest.raises(Broken, match="row 0 were to be copied to row 1, which hold 6 and 2"):
        arena.copy(0, 1, *span)


@pytest.mark.parametrize("keep", [0, 1, 64, 65, 599])
def test_trim_keeps_what_it_says_and_touches_no_other_row(arena, keep):
    for row in range(3):
        fill(arena, row, 640, row + 1)
    arena.trim(1, keep)
    assert row_values(arena, 0, 640) == {1, -1}
    assert row_values(arena, 2, 640) == {3, -3}
    if keep:
        assert row_values(arena, 1, keep) == {2, -2}
    assert arena.used_bytes == (2 * 640 + keep) * SHAPE.token_bytes


def test_a_full_cache_says_what_is_needed_and_reserves_nothing():
    arena = Arena(SHAPE, 10 * SHAPE.token_bytes)
    arena.extend(0, [6])
    with pytest.raises(CacheFull, match=r"cache full: need .* lower max_tokens or wait"):
        arena.extend(1, [4, 1])
    assert arena.used_bytes == 6 * SHAPE.token_bytes
    arena.extend(1, [4])


@pytest.mark.parametrize("first_row, lengths", [(-1, [1]), (3, [1]), (2, [1, 1]), (0, [641])])
def test_rows_and_positions_beyond_the_arena_are_refused(arena, first_row, lengths):
    with pytest.raises(Broken, match="disagree"):
        arena.extend(first_row, lengths)
    with pytest.raises(Broken):
        arena.swap(0, 3, 1)


def test_address_space_costs_no_memory():
    huge = ArenaShape(num_layers=16, num_rows=64, num_kv_heads=8, max_length=8192, head_dim=64)
    arena = Arena(huge, 1 << 30)
    assert huge.total_bytes > 30 << 30
    assert arena.used_bytes == 0


def test_a_kernel_without_huge_pages_does_as_well(monkeypatch):
    class Small(mmap.mmap):
        def madvise(self, advice, *span):
            if advice == mmap.MADV_NOHUGEPAGE:
                raise OSError(errno.EINVAL, "Invalid argument")
            super().madvise(advice, *span)

    monkeypatch.setattr(mmap, "mmap", Small)
    arena = Arena(SHAPE, 1 << 30)
    fill(arena, 1, 5, 3.0)
    assert row_values(arena, 1, 5) == {3.0, -3.0}

"""What all members have after an exchange, and what happens when one is missing."""

from __future__ import annotations

import time
from itertools import count

import numpy as np
import pytest
from bramble.errors import BadInput, Broken
from bramble.stage.exchange.forms import form_of
from bramble.stage.exchange.reduction import is_in_two_steps
from bramble.stage.exchange.tcp import TcpExchange

from tests.stage.exchange.groups import (
    KEY,
    doors,
    group,
    in_rank_order,
    member,
    partial,
    reduced,
    together,
)

SHAPES = [(1, 64), (1, 2048), (5, 50), (3, 8), (128, 2048)]
# Of a block's largest value: half a step of 1/127, and the scale's own rounding of 1/128, for each
# of the addends and the sum
Q8_STEP = 0.5 / 127 * (1 + 1 / 128)


@pytest.mark.parametrize("size", [2, 3, 4, 6])
def test_in_float32_all_have_the_sum_in_rank_order_to_the_bit(size):
    with group(size) as members:
        for seed, (rows, hidden) in enumerate(SHAPES):
            for array in reduced(members, rows, hidden, seed):
                np.testing.assert_array_equal(array, in_rank_order(size, rows, hidden, seed))


@pytest.mark.parametrize("form", ["float16", "q8"])
@pytest.mark.parametrize("size", [2, 3, 5])
def test_rounded_forms_give_all_the_same_bits_near_the_sum(form, size):
    step = Q8_STEP if form == "q8" else 2.0**-11
    with group(size, form=form) as members:
        for seed, (rows, hidden) in enumerate(SHAPES):
            first, *others = reduced(members, rows, hidden, seed)
            for array in others:
                np.testing.assert_array_equal(array, first)
            exact = in_rank_order(size, rows, hidden, seed)
            most = [np.abs(partial(rank, rows, hidden, seed)).max() for rank in range(size)]
            bound = step * (sum(most) + (np.abs(first).max() if size > 2 else 0)) * 1.01
            assert np.abs(first - exact).max() <= bound


@pytest.mark.parametrize("form", ["float32", "float16", "q8"])
def test_a_row_has_the_same_bits_alone_and_among_many(form):
    """One row goes in one step here, 64 in two: a replay has to give what a decode gave."""
    rows, hidden, size = 64, 512, 4
    with group(size, form=form) as members:
        many = reduced(members, rows, hidden)[0]
        for row in (0, 17, 63):
            parts = [partial(rank, rows, hidden)[row : row + 1].copy() for rank in range(size)]
            calls = [lambda m=m, p=p: m.reduce(p) for m, p in zip(members, parts, strict=True)]
            assert together(calls) == [None] * size
            np.testing.assert_array_equal(parts[0][0], many[row])


def test_rank_0_alone_gets_what_the_others_have_for_it():
    with group(3) as members:
        big = b"x" * 3_000_000
        found = together([lambda m=m: m.gather((b"", b"one", big)[m.rank]) for m in members])
        assert found == [[b"", b"one", big], None, None]
        for array in reduced(members, 2, 64):
            np.testing.assert_array_equal(array, in_rank_order(3, 2, 64))


def test_large_arrays_do_not_wait_for_each_other():
    """Each has 16 MB to send before it has read any: more than the kernel keeps for both."""
    arrays = [np.full((512, 8192), rank + 1, np.float32) for rank in range(2)]
    with group(2) as members:
        calls = [lambda m=m: m.reduce(arrays[m.rank]) for m in members]
        assert together(calls) == [None, None]
    assert (arrays[0] == 3).all() and (arrays[1] == 3).all()


def test_two_sums_can_be_under_way():
    with group(3) as members:

        def both(exchange):
            first, second = partial(exchange.rank, 64, 256, 1), partial(exchange.rank, 64, 256, 2)
            exchange.begin_reduce(first)
            exchange.begin_reduce(second)
            exchange.end_reduce()
            exchange.end_reduce()
            return first, second

        for first, second in together([lambda m=m: both(m) for m in members]):
            np.testing.assert_array_equal(first, in_rank_order(3, 64, 256, 1))
            np.testing.assert_array_equal(second, in_rank_order(3, 64, 256, 2))


def test_a_member_that_closes_is_noticed_at_once_and_named():
    with group(3) as members:
        started = time.monotonic()
        members[2].close()
        for error in reduced(members[:2], 1, 64):
            assert isinstance(error, Broken)
            assert "rank" in str(error) and ("closed" in str(error) or "lost" in str(error))
        assert time.monotonic() - started < 2.0


def test_one_that_closes_while_another_is_waited_for_is_noticed_too():
    with group(3) as members:
        members[2].begin_reduce(partial(2, 1, 64))
        members[2].close()
        with pytest.raises(Broken, match=r"rank 2 \(pi2\)"):
            members[0].reduce(partial(0, 1, 64))  # rank 1 sends nothing, rank 2 has sent its part


def test_a_silent_member_is_named_after_the_stated_time():
    named = pytest.raises(Broken, match=r"nothing came from rank 1 \(pi1\) for 0.3 s")
    with group(2, patience_s=0.3) as members, named:
        members[0].reduce(partial(0, 1, 64))


def test_a_member_that_never_comes_is_named():
    with doors(3) as opened:
        members = [member(opened, rank, patience_s=0.4) for rank in range(2)]
        for error in together([lambda m=m: m.begin_step(0) for m in members]):
            assert isinstance(error, Broken) and "rank 2 (pi2)" in str(error)


def test_alive_is_called_while_it_waits_and_ends_the_exchange_by_raising():
    calls = []

    class Reassigned(Exception):
        pass

    def alive():
        calls.append(time.monotonic())
        if len(calls) == 3:
            raise Reassigned

    with doors(2) as opened:
        first, second = member(opened, 0, alive=alive), member(opened, 1)
        together([lambda: first.begin_step(0), lambda: second.begin_step(0)])
        calls.clear()
        with pytest.raises(Reassigned):
            first.reduce(partial(0, 1, 64))
        assert np.diff(calls).min() > 0.05 and np.diff(calls).max() < 1.0
        reduced([second], 1, 64)  # what was sent before is whole
        assert isinstance(reduced([second], 1, 64)[0], Broken), "the other member is told at once"


def test_members_of_different_shapes_get_no_sum():
    with group(2) as members:
        arrays = [partial(0, 1, 64), partial(1, 2, 64)]
        found = together([lambda m=m: m.reduce(arrays[m.rank]) for m in members])
        assert all(isinstance(error, Broken) for error in found)
        assert any("256 bytes" in str(error) or "512 bytes" in str(error) for error in found)


def test_members_at_different_steps_get_no_sum():
    with group(2) as members:
        members[0].begin_step(3)
        members[1].begin_step(4)
        errors = [str(error) for error in reduced(members, 1, 64)]
        assert any("of step 3 of epoch 7 is due, got message 0 of step 4" in one for one in errors)


def test_a_value_that_float16_cannot_hold_is_refused():
    with group(2, form="float16") as members, pytest.raises(Broken, match="exceeds 65504"):
        members[0].reduce(np.full((1, 64), 70_000, np.float32))


def test_what_it_cost_is_counted_without_what_it_took_to_meet():
    with group(2) as members:
        assert members[0].tally.own_us == members[0].tally.waiting_us == 0
        reduced(members, 1, 2048)
        for one in members:
            assert one.tally.exchanges == 1
            assert one.tally.sent_bytes == 2048 * 4 + 48
            assert one.tally.own_us > 0 and one.tally.waiting_us >= 0


@pytest.mark.parametrize("rank, count", [(0, 1), (2, 2), (-1, 2), (0, 65)])
def test_a_group_that_cannot_be_is_refused(rank, count):
    with doors(1) as opened, pytest.raises(BadInput, match=f"rank {rank} of {count} members"):
        made = [("pi", opened[0].endpoint)] * count
        TcpExchange(opened[0], made, rank, 1, KEY, form_of("float32"), lambda: None)


@pytest.mark.parametrize("key", ["", "5a" * 31, "5a" * 33, "xy" * 32])
def test_a_key_that_is_none_is_refused(key):
    with doors(2) as opened, pytest.raises(BadInput, match="need 64 hex digits") as caught:
        member(opened, 0, key=key)
    assert not key or key not in str(caught.value)


def test_two_steps_are_for_larger_groups_and_messages():
    assert not is_in_two_steps(2, 1 << 30)
    assert not is_in_two_steps(4, 4352) and is_in_two_steps(4, 8704)
    assert is_in_two_steps(8, 2176) and not is_in_two_steps(8, 1000)


def test_members_that_each_read_one_other_slowly_do_not_wait_for_each_other_for_ever(monkeypatch):
    """Each is soon done with what it gets of one, and that one still has much to send to it."""
    monkeypatch.setattr("bramble.stage.exchange.door.BUFFER_BYTES", 4096)
    with group(3, patience_s=2.0) as members:
        for each in members:
            slow = each._group.links[(each.rank - 1) % 3]
            turns = count()
            receive = slow._receive
            slow._receive = lambda r=receive, t=turns: next(t) % 50 == 0 and r()
        for array in reduced(members, 256, 4096):
            np.testing.assert_array_equal(array, in_rank_order(3, 256, 4096))

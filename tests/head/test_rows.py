"""Rows against a memory that does to its rows what the stages do."""

from __future__ import annotations

from random import Random

from bramble.head.rows import MIN_PREFIX, QUANTUM, Rows, common_prefix
from bramble.head.sequence import Sequence
from hypothesis import given, settings
from hypothesis import strategies as st

NUM_ROWS = 5


class Memory:
    """The token ids whose keys and values each row of a stage holds."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = [[] for _ in range(NUM_ROWS)]

    def apply(self, rows: Rows) -> None:
        operations = rows.drain()
        for a, b, tokens in operations.swaps:
            self.rows[a], self.rows[b] = self.rows[b][:tokens], self.rows[a][:tokens]
        for source, target, start, stop in operations.copies:
            assert len(self.rows[source]) >= stop
            assert len(self.rows[target]) >= start
            self.rows[target][start:] = self.rows[source][start:stop]
        for row, keep in operations.trims:
            del self.rows[row][keep:]


def sequence(tokens: list[int]) -> Sequence:
    return Sequence("r", tokens, len(tokens), 1000)


def found(rows: Rows, tokens: list[int]) -> tuple[int | None, int]:
    prefix = rows.longest_prefix(sequence(tokens))
    return prefix.row, prefix.usable


def filled(rows: Rows, memory: Memory, index: int, tokens: list[int]) -> Sequence:
    """A sequence in a row, all of whose tokens the stages have."""
    owner = sequence(tokens)
    assert rows.reserve(index, len(tokens))
    rows.take(index, owner, 0)
    send(owner, len(tokens))
    memory.apply(rows)
    memory.rows[index] = list(tokens)
    return owner


def send(owner: Sequence, num_tokens: int) -> None:
    owner.num_sent = num_tokens


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.sampled_from([256, 1024, 10_000]))
def test_a_row_always_holds_the_tokens_it_is_said_to_hold(seed: int, budget: int) -> None:
    random, rows, memory = Random(seed), Rows(NUM_ROWS, budget), Memory()
    for _ in range(120):
        change(rows, random)
        assert rows.reserved_tokens <= budget
        owners = [owner for i in range(NUM_ROWS) if (owner := rows.owner(i))]
        assert [rows.owner(owner.row) for owner in owners] == owners
        if random.random() < 0.3:
            memory.apply(rows)
            for index, row in enumerate(rows._rows):
                assert memory.rows[index][: row.num_cached()] == row.cached()
                assert len(memory.rows[index]) <= row.reserved
            compute(rows, memory, random)


def change(rows: Rows, random: Random) -> None:
    """What a scheduler may do to a row between two steps."""
    index, event = random.randrange(NUM_ROWS), random.random()
    owner = rows.owner(index)
    if event < 0.3:
        rows.swap(index, random.randrange(NUM_ROWS))
    elif owner is None:
        tokens = [random.randrange(2) for _ in range(3)] * random.randrange(8, 60)
        prefix = rows.longest_prefix(sequence(tokens))
        kept_row, kept = prefix.row, prefix.usable
        place = index if kept_row is None or event < 0.6 else kept_row
        if rows.reserve(place, len(tokens)):
            rows.take(place, sequence(tokens), kept if place == kept_row else 0)
            rows.inherit(place, lambda known: known)
    elif event < 0.6:
        rows.inherit(index, lambda known: known)
    elif event < 0.9:
        rows.release(index)
        if event < 0.7:
            rows.forget(index)


def compute(rows: Rows, memory: Memory, random: Random) -> None:
    """One step: some row's next tokens."""
    owners = [owner for i in range(NUM_ROWS) if (owner := rows.owner(i))]
    if owners:
        owner = random.choice(owners)
        stop = random.randint(owner.num_sent, len(owner.tokens))
        memory.rows[owner.row] = owner.tokens[:stop]
        send(owner, stop)


def test_the_row_that_was_of_no_use_for_longest_is_given_up_first() -> None:
    rows, memory = Rows(NUM_ROWS, 3 * QUANTUM), Memory()
    for index in (2, 0, 1):
        filled(rows, memory, index, [index] * QUANTUM)
        rows.release(index)
    assert rows.reserve(3, 1)
    assert found(rows, [2] * 64) == (None, 0)
    assert found(rows, [0] * 64) == (0, 64)
    assert found(rows, [1] * 64) == (1, 64)


def test_a_reservation_that_cannot_be_had_gives_nothing_up() -> None:
    rows, memory = Rows(NUM_ROWS, 3 * QUANTUM), Memory()
    filled(rows, memory, 0, [0] * QUANTUM)
    filled(rows, memory, 1, [1] * QUANTUM)
    rows.release(1)
    assert not rows.reserve(2, 3 * QUANTUM)
    assert found(rows, [1] * 64) == (1, 64)


def test_a_row_that_others_copy_from_is_of_use() -> None:
    rows, memory = Rows(NUM_ROWS, 3 * QUANTUM), Memory()
    for index in (0, 1):
        filled(rows, memory, index, [index] * QUANTUM)
        rows.release(index)
    reader = sequence([0] * 40)
    assert rows.reserve(2, 40)
    rows.take(2, reader, 0)
    assert rows.inherit(2, lambda known: min(known, 38)) == 38
    assert rows.reserve(3, 1)
    assert found(rows, [0] * 64) == (0, 64)
    assert found(rows, [1] * 64) == (None, 0)


def test_a_copy_survives_that_its_source_is_given_up_and_exchanged() -> None:
    rows, memory = Rows(NUM_ROWS, 4 * QUANTUM), Memory()
    filled(rows, memory, 0, list(range(60)))
    rows.release(0)
    filled(rows, memory, 1, [7] * 5)
    reader = sequence(list(range(60)))
    assert rows.reserve(2, 60)
    rows.take(2, reader, 0)
    assert rows.inherit(2, lambda known: min(known, 58)) == 58
    rows.forget(0)
    rows.swap(0, 1)
    rows.swap(2, 3)
    memory.apply(rows)
    assert memory.rows[3] == list(range(58))
    assert memory.rows[0] == [7] * 5
    assert memory.rows[1] == []


def test_little_that_is_shared_is_not_copied() -> None:
    rows, memory = Rows(NUM_ROWS, 10_000), Memory()
    filled(rows, memory, 0, list(range(MIN_PREFIX - 1)))
    reader = sequence(list(range(50)))
    rows.take(1, reader, 0)
    assert rows.inherit(1, lambda known: min(known, 48)) == 0
    assert rows.drain().copies == ()


def test_a_short_sequence_gives_back_what_a_long_one_had_reserved() -> None:
    rows, memory = Rows(NUM_ROWS, 2000), Memory()
    filled(rows, memory, 0, list(range(1000)))
    rows.release(0)
    rows.take(0, sequence(list(range(40))), 30)
    assert rows.reserved_tokens == QUANTUM
    memory.apply(rows)
    assert memory.rows[0] == list(range(30))


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_the_common_prefix_is_what_both_begin_with(a: list[int], b: list[int]) -> None:
    length = common_prefix(a, b)
    assert a[:length] == b[:length]
    assert a[length : length + 1] != b[length : length + 1] or length == max(len(a), len(b))

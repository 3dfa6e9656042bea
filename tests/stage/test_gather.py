"""Rank 0 chooses as one process would, whatever range is best; other forms are refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from bramble.errors import Broken
from bramble.stage.gather import Gatherer
from bramble.stage.member import Group
from bramble.wire.messages import Open, Sampling, StepKind
from groups import Table, Threads
from ring import Ring

RANGES = ((0, 5), (5, 6), (6, 16))
GREEDY = Sampling(temperature=0.0)


def steps(model, sequences, opens=(), closes=()):
    made = Ring(model("llama3"), 0).step(StepKind.DECODE, [[1]] * len(sequences), [3] * 2)
    return replace(made, sequences=np.array(sequences, np.uint64), opens=opens, closes=closes)


def gather(whole, step, gatherers=None):
    """What rank 0 gets where each member has its range of `whole` (rows, 16)."""
    table = Table(len(RANGES))
    gatherers = gatherers or [
        Gatherer(Group(Threads(table, rank)), vocab, 16) for rank, vocab in enumerate(RANGES)
    ]

    def member(rank):
        gatherers[rank].follow(step)
        start, stop = RANGES[rank]
        return gatherers[rank].logits(step, whole[:, start:stop])

    with ThreadPoolExecutor(len(RANGES)) as pool:
        first, *others = pool.map(member, range(len(RANGES)))
    assert others == [None, None]
    return first, gatherers


def opened(*sequences, **sampling):
    return tuple(Open(s, 3, replace(GREEDY, **sampling)) for s in sequences)


@pytest.mark.parametrize("best", range(16))
def test_the_best_token_of_any_range_is_chosen(best, model):
    whole = np.random.default_rng(best).normal(0, 1, (2, 16)).astype(np.float32)
    whole[1, best] = 9.0
    found, _ = gather(whole, steps(model, [7, 8], opened(7, 8)))
    np.testing.assert_array_equal(found.argmax(axis=1), whole.argmax(axis=1))
    assert np.isfinite(found).sum() == 2


def test_of_equal_logits_the_lowest_token_is_chosen(model):
    whole = np.zeros((2, 16), np.float32)
    whole[0, [4, 5, 6, 15]] = whole[1, [5, 9]] = 2.0
    found, _ = gather(whole, steps(model, [7, 8], opened(7, 8)))
    assert found.argmax(axis=1).tolist() == [4, 5]


def test_one_sequence_that_wants_more_brings_all_logits(model):
    whole = np.random.default_rng(0).normal(0, 1, (2, 16)).astype(np.float32)
    for more in (
        {"temperature": 0.5},
        {"top_logprobs": 0},
        {"presence_penalty": 0.1},
        {"logit_bias": ((3, 1.0),)},
    ):
        found, _ = gather(whole, steps(model, [7, 8], opened(7) + opened(8, **more)))
        np.testing.assert_array_equal(found, whole)
    grammar = (replace(opened(8)[0], grammar="{}"),)
    np.testing.assert_array_equal(
        gather(whole, steps(model, [7, 8], opened(7) + grammar))[0], whole
    )


def test_a_sequence_that_was_not_opened_is_not_taken_for_a_greedy_one(model):
    whole = np.random.default_rng(0).normal(0, 1, (2, 16)).astype(np.float32)
    found, gatherers = gather(whole, steps(model, [7, 8], opened(7)))
    np.testing.assert_array_equal(found, whole)
    found, _ = gather(whole, steps(model, [7, 7], closes=(8,)), gatherers)
    assert np.isfinite(found).sum() == 2
    np.testing.assert_array_equal(
        gather(whole, steps(model, [7, 7], closes=(7,)), gatherers)[0], whole
    )
    # Rows of -inf are used again: nothing of the step before is left in them
    found, _ = gather(whole[::-1].copy(), steps(model, [7, 7], opened(7)), gatherers)
    assert np.isfinite(found).sum() == 2


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [2, 5, 12])
def test_logits_that_are_not_finite_are_told(bad, place, model):
    whole = np.zeros((2, 16), np.float32)
    whole[1, place] = bad
    with pytest.raises(Broken, match="not finite"):
        gather(whole, steps(model, [7, 8], opened(7, 8)))


class Forged:
    """An exchange in which the other members say what they like."""

    rank, size = 0, 2

    def __init__(self, *others: bytes) -> None:
        self.others = others

    def gather(self, mine: bytes) -> list[bytes]:
        return [mine, *self.others]


def best(logit, token):
    return np.float32(logit).tobytes() + np.int32(token).tobytes()


@pytest.mark.parametrize(
    "said", [b"", b"1234567", best(9, 16) * 2, best(9, -1) * 2, best(9, 3), best(np.nan, 3) * 2]
)
def test_a_best_token_in_another_form_is_refused(said, model):
    gatherer = Gatherer(Group(Forged(said)), (0, 5), 16)
    step = steps(model, [7, 8], opened(7, 8))
    gatherer.follow(step)
    with pytest.raises(Broken):
        gatherer.logits(step, np.zeros((2, 5), np.float32))


@pytest.mark.parametrize("others", [(b"",), (bytes(84), bytes(4)), (bytes(2 * 12 * 4),)])
def test_ranges_that_are_not_all_of_the_logits_are_refused(others, model):
    gatherer = Gatherer(Group(Forged(*others)), (0, 5), 16)
    with pytest.raises(Broken, match="which are not 128 together"):
        gatherer.logits(steps(model, [7, 8]), np.zeros((2, 5), np.float32))


def test_rows_that_are_too_many_for_one_message_go_in_several(model, monkeypatch):
    monkeypatch.setattr("bramble.stage.gather.MAX_REPORT_BYTES", 2 * 16 * 4)
    whole = np.random.default_rng(5).normal(0, 1, (5, 16)).astype(np.float32)
    found, _ = gather(whole, steps(model, [7, 8], opened(7, 8, temperature=1.0)))
    np.testing.assert_array_equal(found, whole)

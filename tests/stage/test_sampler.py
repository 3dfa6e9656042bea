"""The sampler against plain implementations written from transformers' and OpenAI's definitions."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from bramble.errors import Broken
from bramble.stage.nucleus import nucleus
from bramble.stage.sampler import Sampler, State, draw, penalize, warp
from bramble.stage.uniform import uniform
from bramble.wire.messages import Open, Sampling
from hypothesis import given, settings
from hypothesis import strategies as st

VOCAB = 64


def reference_weights(logits, sampling):
    """Temperature, top_k, top_p, min_p, each over a full float64 vector, as transformers do it."""
    scores = logits.astype(np.float64) / sampling.temperature
    if sampling.top_k:
        kth = np.sort(scores)[-min(sampling.top_k, len(scores))]
        scores = np.where(scores < kth, -np.inf, scores)
    if sampling.top_p < 1:
        order = np.argsort(scores, kind="stable")
        cumulated = np.cumsum(softmax(scores)[order])
        removed = cumulated <= 1 - sampling.top_p
        removed[-1] = False
        scores[order[removed]] = -np.inf
    if sampling.min_p:
        shares = softmax(scores)
        scores = np.where(shares < sampling.min_p * shares.max(), -np.inf, scores)
    return softmax(scores)


def softmax(scores):
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def shares(logits, sampling):
    """What `warp` leaves, as a full vector of probabilities."""
    ids, weights = warp(logits, sampling)
    full = np.zeros(len(logits))
    full[slice(None) if ids is None else ids] = weights
    return full / full.sum()


def opened(sampling, prompt=1, history=()):
    sampler = Sampler()
    sampler.open(Open(1, prompt, sampling, history))
    return sampler


@settings(derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    temperature=st.floats(0.2, 3),
    top_k=st.integers(0, 70),
    top_p=st.floats(0.02, 1),
    min_p=st.floats(0, 0.5),
)
def test_warping_equals_transformers_definitions(seed, temperature, top_k, top_p, min_p):
    logits = np.random.default_rng(seed).normal(0, 3, VOCAB).astype(np.float32)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    # float32 weights: relative error of exp at arguments up to 60
    np.testing.assert_allclose(
        shares(logits, sampling), reference_weights(logits, sampling), rtol=2e-5, atol=1e-7
    )


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(top_k=8), Sampling(top_p=0.8), Sampling(temperature=2.0, min_p=0.1)],
)
def test_drawn_tokens_follow_the_distribution(sampling):
    logits = np.random.default_rng(3).normal(0, 1.5, VOCAB).astype(np.float32)
    sampler, count = opened(sampling), 4000
    drawn = [int(sampler.sample(logits[None], [1], [p]).token_ids[0]) for p in range(count)]
    expected = reference_weights(logits, sampling) * count
    found = np.bincount(drawn, minlength=VOCAB)
    assert not found[expected == 0].any()
    kept = expected > 0
    chi_square = ((found[kept] - expected[kept]) ** 2 / expected[kept]).sum()
    freedom = kept.sum() - 1
    assert chi_square < freedom + 4 * np.sqrt(2 * freedom)  # four standard deviations


@pytest.mark.parametrize("top_p", [0.0, 1e-6, 0.3, 0.9, 1 - 1e-9])
@pytest.mark.parametrize("kinds", [1, 3, 50, 100_000])
def test_the_nucleus_is_the_fewest_largest_that_hold_top_p(kinds, top_p):
    random = np.random.default_rng(kinds)
    values = np.exp(-random.exponential(4, kinds)).astype(np.float32)
    weights = random.choice(values / values.max(), 20_000)  # few kinds: many ties
    weights[0] = 1
    order = np.argsort(-weights, kind="stable")
    before = np.cumsum(weights[order], dtype=np.float64) - weights[order]
    expected = np.sort(order[: max(1, (before < top_p * weights.sum(dtype=np.float64)).sum())])
    found = nucleus(weights, top_p)
    assert abs(len(found) - len(expected)) <= 1  # sums of another order round differently
    np.testing.assert_array_equal(
        np.sort(weights[found])[::-1][: len(expected)][:-1],
        np.sort(weights[expected])[::-1][: len(found)][:-1],
    )
    assert (np.diff(found) > 0).all()


def test_drawing_over_many_blocks_equals_one_running_sum():
    weights = np.random.default_rng(0).random(5000).astype(np.float32)
    bounds = np.cumsum(weights, dtype=np.float64)
    for u in np.random.default_rng(1).random(200):
        assert draw(weights, u) == np.searchsorted(bounds, u * bounds[-1], side="right")


def test_a_token_without_weight_is_never_drawn():
    weights = np.array([0, 0, 1, 0, 1, 0], np.float32)
    assert [draw(weights, u) for u in (0.0, 0.4999, 0.5, 1 - 2**-53)] == [2, 2, 4, 4]


def test_greedy_takes_the_lowest_id_of_equals():
    choice = opened(Sampling(temperature=0)).sample(np.array([[0, 7, 7, 1]], np.float32), [1], [9])
    assert choice.token_ids.tolist() == [1]


def test_the_token_depends_on_seed_and_position_only():
    logits = np.zeros((1, VOCAB), np.float32)
    first, other = opened(Sampling(seed=5)), opened(Sampling(seed=5))
    other.sample(logits, [1], [77])
    assert first.sample(logits, [1], [8]).token_ids == other.sample(logits, [1], [8]).token_ids


def test_uniform_numbers_are_uniform_and_fixed():
    numbers = np.array([uniform(seed, position) for seed in range(50) for position in range(100)])
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    assert ((counts - 250) ** 2 / 250).sum() < 19 + 4 * np.sqrt(38)
    assert uniform(2**64 - 1, 2**31 - 1) == uniform(2**64 - 1, 2**31 - 1) < 1


def test_logprobs_are_of_the_unmodified_logits():
    logits = np.random.default_rng(1).normal(0, 2, (1, VOCAB)).astype(np.float32)
    sampling = Sampling(temperature=0.5, top_k=1, logit_bias=((3, 100.0),), top_logprobs=4)
    choice = opened(sampling).sample(logits, [1], [0])
    wanted = np.log(softmax(logits[0].astype(np.float64)))
    best = np.argsort(-logits[0])[:4]
    assert choice.token_ids[0] == 3
    np.testing.assert_allclose(choice.logprobs, wanted[[3]], atol=1e-5)
    assert choice.top_ids[0].tolist() == best.tolist()
    np.testing.assert_allclose(choice.top_logprobs[0], wanted[best], atol=1e-5)


def test_rows_that_asked_for_fewer_logprobs_are_padded():
    sampler = Sampler()
    for sequence, top in ((1, 2), (2, -1), (3, 1)):
        sampler.open(Open(sequence, 1, Sampling(temperature=0, top_logprobs=top)))
    choice = sampler.sample(np.tile(np.arange(4, dtype=np.float32), (3, 1)), [1, 2, 3], [1, 1, 1])
    assert choice.top_ids.tolist() == [[3, 2], [-1, -1], [3, -1]]


def test_penalties_follow_ctrl_and_openai():
    sampling = Sampling(repetition_penalty=2.0, presence_penalty=0.5, frequency_penalty=0.25)
    state = State(sampling, 2)
    state.feed([0, 1, 2, 2], 0)  # 0 and 1 are the prompt
    logits = np.array([4, -4, 4, 4], np.float32)
    assert penalize(logits, state).tolist() == [2.0, -8.0, 2.0 - 0.5 - 2 * 0.25, 4.0]
    assert logits.tolist() == [4, -4, 4, 4]


def test_history_and_single_tokens_count_alike():
    sampling = Sampling(frequency_penalty=1.0)
    whole, stepwise = State(sampling, 3), State(sampling, 3)
    whole.feed([5, 5, 5, 6, 7, 6], 0)
    for position, token in enumerate([5, 5, 5, 6, 7, 6]):
        stepwise.feed([token], position)
    assert whole == stepwise
    assert whole.replied == {6: 2, 7: 1}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_name_the_sequence(bad):
    logits = np.zeros((1, 8), np.float32)
    logits[0, 3] = bad
    with pytest.raises(Broken, match="sequence 1 are not finite"):
        opened(Sampling()).sample(logits, [1], [0])


def test_a_sequence_that_was_closed_cannot_be_sampled():
    sampler = opened(Sampling())
    sampler.close([1, 99])
    with pytest.raises(Broken, match="before it was opened"):
        sampler.sample(np.zeros((1, 8), np.float32), [1], [0])


def test_a_stage_is_ready_before_it_has_numba() -> None:
    code = "import sys, bramble.stage.service; from bramble.stage.sampler import Sampler; "
    code += "Sampler(); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

"""Guesses checked in one step give what steps of one token give, however wrong they are."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from bramble.errors import Broken
from bramble.wire.messages import Open, Sampling, StepKind
from ring import GREEDY, Ring

PROMPT = [7, 9, 30, 4, 50, 51, 7, 9]
COUNT = 24
PENALISED = Sampling(
    temperature=0.9,
    top_k=40,
    repetition_penalty=1.3,
    presence_penalty=0.5,
    frequency_penalty=0.4,
    seed=5,
    top_logprobs=2,
)


def generate(ring: Ring, sampling: Sampling, reply: list[int], random: Random):
    """Generate with guesses that are right for a while; reply is what they are taken from."""
    opened = Open(0, len(PROMPT), sampling, tuple(PROMPT))
    first = ring.prefill(PROMPT, opens=(opened,), is_sampled=True)
    tokens, tops = first.token_ids.tolist(), [first.top_logprobs]
    while len(tokens) < COUNT:
        guesses = reply[len(tokens) : len(tokens) + random.randrange(8)]
        if guesses and random.random() < 0.7:
            guesses[random.randrange(len(guesses))] = random.randrange(100)
        found = ring.verify([tokens[-1], *guesses], len(PROMPT) + len(tokens) - 1)
        new = found.token_ids.tolist()
        assert new[:-1] == guesses[: len(new) - 1]
        assert len(new) == len(guesses) + 1 or new[-1] != guesses[len(new) - 1]
        assert found.logprobs.shape == found.top_ids.shape[:1] == (len(new),)
        tokens += new
        tops.append(found.top_logprobs)
    return tokens[:COUNT], np.concatenate(tops)[:COUNT]


@pytest.mark.parametrize("case", ["llama3", "qwen3", "mistral"])
@pytest.mark.parametrize(
    "sampling", [GREEDY, Sampling(seed=11, temperature=0.9, top_p=0.95), PENALISED]
)
def test_any_guesses_give_the_tokens_that_single_steps_give(case, sampling, model):
    folder = model(case)
    reply = Ring(folder).generate(PROMPT, COUNT, 0, sampling)
    for seed in range(4):
        tokens, _ = generate(Ring(folder, 2), sampling, reply, Random(seed))
        assert tokens == reply


def test_every_token_of_a_run_has_its_own_logprobs(model):
    folder = model("llama3")
    reply = Ring(folder).generate(PROMPT, COUNT, 0, PENALISED)
    _, alone = generate(Ring(folder), PENALISED, [], Random(0))
    _, together = generate(Ring(folder), PENALISED, reply, Random(1))
    np.testing.assert_allclose(together, alone, atol=1e-4)  # float32 through three layers


def test_guesses_that_failed_leave_nothing_that_is_read(model):
    ring = Ring(model("llama3"))
    want = ring.generate(PROMPT, 12)
    first = ring.generate(PROMPT, 1)
    found = ring.verify([first[0], *[99] * 15], len(PROMPT)).token_ids.tolist()
    assert found == want[1:2]
    tokens = [*first, *found]
    while len(tokens) < 12:
        result = ring.decode([tokens[-1]], [len(PROMPT) + len(tokens) - 1], is_sampled=True)
        tokens += result.token_ids.tolist()
    assert tokens == want


def test_guesses_of_two_rows_are_refused(model):
    ring = Ring(model("llama3"))
    with pytest.raises(Broken, match="VERIFY cannot have 2 rows of 2 tokens"):
        ring.run(ring.step(StepKind.VERIFY, [[1, 2], [3, 4]], [0, 0], is_sampled=True))

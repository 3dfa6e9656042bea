"""Tokens of a reply that are computed together again have the bits that single steps gave them."""

from __future__ import annotations

import numpy as np
import pytest
from bramble.wire.messages import Open, Sampling, StepKind
from ring import Ring

PROMPT = [7, 9, 30, 4, 50, 51, 7, 9]
REPLY = [3, 41, 41, 9, 77, 12, 60, 5, 5, 90, 33, 2, 71, 18, 64, 23]
ASKED = Sampling(temperature=0.0, top_logprobs=20)
CASES = [
    (case, quantization)
    for case in ("llama3", "qwen3", "mistral")
    for quantization in ("int8", "int4", "float32")
]


def read(ring: Ring) -> None:
    opened = Open(0, len(PROMPT), ASKED)
    ring.prefill(PROMPT, opens=(opened,), is_sampled=True)


def end(ring: Ring) -> list[np.ndarray]:
    """Return the bits that a step behind the reply is made of, at each stage."""
    position = len(PROMPT) + len(REPLY) - 1
    first, last = ring.run(ring.step(StepKind.DECODE, [[REPLY[-1]]], [position], is_sampled=True))
    return [first.hidden.copy(), last.top_logprobs, last.top_ids]


def decoded(ring: Ring) -> list[np.ndarray]:
    read(ring)
    for index, token in enumerate(REPLY[:-1]):
        ring.decode([token], [len(PROMPT) + index], is_sampled=True)
    return end(ring)


@pytest.mark.parametrize(("case", "quantization"), CASES)
@pytest.mark.parametrize("lengths", [(15,), (1, 2, 12), (7, 8)])
def test_a_replayed_reply_has_the_bits_of_a_decoded_one(case, quantization, lengths, model):
    folder = model(case, quantization)
    ring, start = Ring(folder, 2), 0
    read(ring)
    for length in lengths:
        tokens = REPLY[start : start + length]
        ring.run(ring.step(StepKind.REPLAY, [tokens], [len(PROMPT) + start]))
        start += length
    for got, want in zip(end(ring), decoded(Ring(folder, 2)), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("case", "quantization"), CASES)
def test_guesses_that_came_true_have_the_bits_of_single_steps(case, quantization, model):
    folder = model(case, quantization)
    alone = Ring(folder)
    reply = alone.generate(PROMPT, 16, 0, ASKED)
    want = alone.decode([reply[-1]], [len(PROMPT) + 15], is_sampled=True)
    ring = Ring(folder)
    ring.generate(PROMPT, 1, 0, ASKED)
    found = ring.verify(reply[:8], len(PROMPT))
    assert found.token_ids.tolist() == reply[1:9]
    found = ring.verify(reply[8:], len(PROMPT) + 8)
    assert found.token_ids.tolist()[:-1] == reply[9:]
    np.testing.assert_array_equal(found.top_logprobs[-1:], want.top_logprobs)


def test_a_replayed_int8_cache_has_the_bits_of_a_decoded_one(model):
    folder = model("llama3", "int8")
    rings = [Ring(folder, 2, kv_cache="int8") for _ in range(2)]
    read(rings[0])
    rings[0].run(rings[0].step(StepKind.REPLAY, [REPLY[:-1]], [len(PROMPT)]))
    for got, want in zip(end(rings[0]), decoded(rings[1]), strict=True):
        np.testing.assert_array_equal(got, want)

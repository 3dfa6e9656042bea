"""What a stage computes before it is asked changes no token, and costs little where it is wrong."""

from __future__ import annotations

import pytest
from bramble.wire.messages import Open, Sampling, StepKind
from ring import GREEDY, Ring

PROMPT = [7, 9, 30, 4, 50, 51, 8]
SEEDED = Sampling(seed=11, temperature=0.9, repetition_penalty=1.2)


def decode(ring: Ring, token: int, position: int, row: int = 0):
    step = ring.step(StepKind.DECODE, [[token]], [position], row, is_sampled=True)
    return step, ring.engines[0].run(step)


def generate_ahead(ring: Ring, count: int, row: int = 0, sampling: Sampling = GREEDY) -> list[int]:
    """As Ring.generate, each next step computed before it is asked for."""
    tokens = ring.generate(PROMPT, 1, row, sampling)
    for i in range(count - 1):
        step, result = decode(ring, tokens[-1], len(PROMPT) + i, row)
        tokens.append(int(result.token_ids[0]))
        assert (result.foreseen_us > 0) == (i > 0)
        ring.engines[0].foresee(step, result.token_ids)
    return tokens


@pytest.mark.parametrize("quantization", ["float32", "int4"])
@pytest.mark.parametrize("sampling", [GREEDY, SEEDED], ids=["greedy", "sampled"])
def test_tokens_are_the_same_with_and_without_foresight(quantization, sampling, model):
    folder = model("llama3", quantization)
    want = Ring(folder).generate(PROMPT, 30, 0, sampling)
    assert generate_ahead(Ring(folder), 30, 0, sampling) == want


def test_a_step_that_was_not_foreseen_finds_the_cache_as_if_nothing_had_been(model):
    ring = Ring(model("llama3", "float32"))
    want = Ring(model("llama3", "float32")).generate(PROMPT, 12)
    tokens = generate_ahead(ring, 5)
    used = ring.engines[0].kv_used_bytes
    other = ring.generate(PROMPT[::-1], 4, row=1)  # another sequence comes between
    assert other == Ring(model("llama3", "float32")).generate(PROMPT[::-1], 4)
    assert ring.engines[0].kv_used_bytes < used * 2.5
    for i in range(4, 11):
        _, result = decode(ring, tokens[-1], len(PROMPT) + i)
        assert result.foreseen_us == 0
        tokens.append(int(result.token_ids[0]))
    assert tokens == want


def test_memory_of_what_was_foreseen_in_vain_is_given_back(model):
    ring, plain = Ring(model("llama3", "float32")), Ring(model("llama3", "float32"))
    generate_ahead(ring, 5)
    plain.generate(PROMPT, 5)
    for each in (ring, plain):
        each.prefill([3, 4], 0, 2)
    assert ring.engines[0].kv_used_bytes == plain.engines[0].kv_used_bytes


def test_a_stage_that_is_wrong_too_often_waits_to_be_asked(model):
    """The head's guesses come instead of the step, every time."""
    ring = Ring(model("llama3", "float32"))
    engine, token, position = ring.engines[0], ring.generate(PROMPT, 1)[0], len(PROMPT)
    num_foreseen = 0
    for _ in range(20):
        step, result = decode(ring, token, position)
        before = engine.kv_used_bytes
        engine.foresee(step, result.token_ids)
        num_foreseen += engine.kv_used_bytes > before
        position += 1
        verify = ring.step(
            StepKind.VERIFY, [[int(result.token_ids[0]), 5]], [position], 0, is_sampled=True
        )
        found = engine.run(verify).token_ids
        token, position = int(found[-1]), position + len(found)
    assert num_foreseen == 1


def test_nothing_is_foreseen_beyond_the_rows_end(model):
    ring = Ring(model("llama3", "float32"))
    prompt = [5] * 90
    tokens, engine = ring.generate(prompt, 1), ring.engines[0]
    for i in range(6):  # up to max_length, 96
        step, result = decode(ring, tokens[-1], 90 + i)
        engine.foresee(step, result.token_ids)
        tokens.append(int(result.token_ids[0]))
    assert tokens == Ring(model("llama3", "float32")).generate(prompt, 7)


def test_nothing_is_foreseen_beyond_the_budget(model):
    ring = Ring(model("llama3", "float32"))
    tokens, engine = ring.generate(PROMPT, 1), ring.engines[0]
    step, result = decode(ring, tokens[0], len(PROMPT))
    engine._arena.max_bytes = engine.kv_used_bytes
    engine.foresee(step, result.token_ids)
    engine._arena.max_bytes *= 2
    assert decode(ring, int(result.token_ids[0]), len(PROMPT) + 1)[1].foreseen_us == 0


def test_a_sequence_that_ended_costs_no_credit(model):
    ring = Ring(model("llama3", "float32"))
    for round_ in range(5):
        row = round_ % 2
        opened = Open(row, len(PROMPT), GREEDY, tuple(PROMPT))
        result = ring.prefill(PROMPT, 0, row, opens=(opened,), is_sampled=True)
        for i in range(3):
            step, result = decode(ring, int(result.token_ids[0]), len(PROMPT) + i, row)
            ring.engines[0].foresee(step, result.token_ids)
        assert result.foreseen_us > 0

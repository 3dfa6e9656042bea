"""A reply goes on to the bit wherever it broke off, in the kinds of weights that people run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from bramble.wire.messages import Generate, Sampling

from tests.ring.conftest import Ring, RingMaker

TOKENS = 48
QUESTIONS = (
    "How fast is it?",
    "What is a bramble?",
    "How do I add a Pi?",
    "Why is my node throttled, and what should I do about it?",
)
SAMPLINGS = (Sampling(temperature=0), Sampling(temperature=0.8, seed=5))


def asked(name: str, question: str, sampling: Sampling, *history: str) -> Generate:
    roles = ("user", "assistant")
    texts = (*history, question)
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return Generate(
        name, sampling, messages=messages, max_tokens=TOKENS, ignore_eos=True, is_seeded=True
    )


def requests() -> list[Generate]:
    return [
        asked(f"{i}-{j}", question, sampling)
        for i, question in enumerate(QUESTIONS)
        for j, sampling in enumerate(SAMPLINGS)
    ]


def replies(ring: Ring, wanted: list[Generate], at_once: int = 4) -> list[tuple[list[int], str]]:
    with ThreadPoolExecutor(at_once) as pool:
        return [found[:2] for found in pool.map(ring.generate, wanted)]


@pytest.fixture(scope="module", params=["embedded-int8", "embedded-int4"])
def model(request: pytest.FixtureRequest, models: Path) -> Path:
    return models / str(request.param)


def test_replies_that_broke_off_go_on_to_the_bit_with_and_without_a_cache(
    model: Path, make_ring: RingMaker
) -> None:
    alone = make_ring(model, 1, speculation="off")
    whole = [ids for ids, _ in replies(alone, requests(), 1)]
    broken = [
        replace(each, request=f"{each.request}-{k}", generated=tuple(ids[:k]))
        for each, ids in zip(requests(), whole, strict=True)
        for k in (1, 2, 19, 40)
    ]
    want = [ids[k:] for ids in whole for k in (1, 2, 19, 40)]
    ring = make_ring(model, 3)
    assert [ids for ids, _ in replies(ring, broken)] == want, "read anew"
    assert [ids for ids, _ in replies(ring, requests())] == whole, "undisturbed, with guesses"
    again = [replace(each, request=f"again-{each.request}") for each in broken]
    assert [ids for ids, _ in replies(ring, again)] == want, "from the cache"


def test_a_second_turn_is_the_same_from_the_cache_and_read_anew(
    model: Path, make_ring: RingMaker
) -> None:
    ring = make_ring(model, 2)
    first = replies(ring, requests())
    seconds = [
        asked(f"second-{each.request}", "And then?", each.sampling, QUESTIONS[i // 2], text)
        for i, (each, (_, text)) in enumerate(zip(requests(), first, strict=True))
    ]
    cached = replies(ring, seconds)
    assert replies(make_ring(model, 2), seconds) == cached

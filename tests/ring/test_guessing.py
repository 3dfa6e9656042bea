"""Guessed tokens change how soon a reply comes, and nothing else of it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any

import pytest
from bramble.config import HeadConfig
from bramble.errors import BadInput
from bramble.head.service import Service
from bramble.wire.messages import Delta, Done, Generate, Sampling
from bramble.wire.transport import Transport

from tests.ring.conftest import Ring, RingMaker, greedy, sampled

TOKENS = 96
LOOP = [63, 142, 36, 97] * 5
OFF = {"speculation": "off"}


def requests(name: str) -> list[Generate]:
    """Prompts that repeat, of which random models make replies that loop; and some that do not."""
    random = Random(3)
    phrase = [random.randrange(3, 150) for _ in range(9)]
    prompts = [phrase * 3, phrase[:4] * 5, [random.randrange(3, 150) for _ in range(20)], [5] * 30]
    low = Sampling(temperature=0.3, seed=8)
    return [
        *(greedy(f"{name}-greedy-{i}", prompt, TOKENS) for i, prompt in enumerate(prompts)),
        *(sampled(f"{name}-sampled-{i}", prompt, 40, seed=i) for i, prompt in enumerate(prompts)),
        Generate(f"{name}-low", low, prompt=prompts[0], max_tokens=TOKENS, ignore_eos=True),
    ]


def replies(ring: Ring, name: str, at_once: int) -> list[tuple[list[int], str, int]]:
    with ThreadPoolExecutor(at_once) as pool:
        found = pool.map(ring.generate, requests(name))
        return [(ids, text, done.completion_tokens) for ids, text, done in found]


def counters(ring: Ring) -> dict[str, Any]:
    found: Any = ring.client.status()["counters"]
    return found


@pytest.mark.parametrize("name", ["llama3-float32", "qwen3-float32", "embedded-int8"])
def test_replies_are_the_same_with_and_without_guessing(
    name: str, models: Path, make_ring: RingMaker
) -> None:
    without = make_ring(models / name, 3, **OFF)
    want = replies(without, "off", 1)
    assert counters(without)["draft_tokens_total"] == 0
    ring = make_ring(models / name, 3)
    assert replies(ring, "alone", 1) == want
    alone = counters(ring)
    assert alone["accepted_tokens_total"] > 10
    saved = counters(without)["steps_total"] - alone["steps_total"]
    assert saved == alone["accepted_tokens_total"], "each saves a trip round the ring"
    assert replies(ring, "together", 8) == want


def stopped(ring: Ring, name: str, stop: str) -> tuple[str, Done, int]:
    """Return the text, Done and number of tokens of a reply that repeats itself until `stop`."""
    asked = Generate(
        name,
        Sampling(temperature=0, top_logprobs=1),
        prompt=LOOP,
        max_tokens=TOKENS,
        stop=(stop,),
        ignore_eos=True,
    )
    text, logprobs = "", 0
    for event in ring.client.generate(asked):
        if isinstance(event, Delta):
            text += event.text
            logprobs += len(event.logprobs)
        if isinstance(event, Done):
            return text, event, logprobs
    raise AssertionError("the stream ended without Done")


def test_a_stop_inside_a_run_ends_text_and_usage_there(models: Path, make_ring: RingMaker) -> None:
    rings = [make_ring(models / "qwen3-float32", 2, **more) for more in (OFF, {})]
    _, whole, _ = rings[0].generate(greedy("whole", LOOP, TOKENS))
    for length in range(24, 36):  # of a loop's text, so that it is met when guesses come true
        stop = whole[len(whole) // 2 :][:length]
        (text, done, logprobs), (same, again, count) = (
            stopped(ring, f"stop-{length}", stop) for ring in rings
        )
        assert (same, again.completion_tokens, count) == (text, done.completion_tokens, logprobs)
        assert again.finish == done.finish == "stop"
        assert logprobs == done.completion_tokens
    assert counters(rings[1])["accepted_tokens_total"] > 0


def test_a_preempted_reply_with_guesses_stays_the_same(models: Path, make_ring: RingMaker) -> None:
    name = models / "llama3-float32"
    want = replies(make_ring(name, 1, **OFF), "off", 1)
    assert replies(make_ring(name, 2, **{"max-rows": 4}), "tight", 8) == want


def test_another_setting_is_refused_by_name() -> None:
    config = HeadConfig(Path("model"), ("pi-1",), speculation="on")
    with Transport() as transport, pytest.raises(BadInput, match="is 'on', it has to be auto or"):
        Service(config, transport)

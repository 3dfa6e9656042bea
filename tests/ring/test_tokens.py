"""A ring of N stages gives exactly the tokens that one gives, whatever goes on around it."""

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from bramble.head.rows import MIN_PREFIX
from bramble.wire.messages import Generate, Sampling

from tests.ring.conftest import Ring, RingMaker, greedy, sampled

TOKENS = 40


def prompts() -> list[list[int]]:
    """Eight prompts of different lengths, two of which share their beginning."""
    random = Random(7)
    made = [[random.randrange(3, 150) for _ in range(n)] for n in (1, 5, 17, 30, 33, 48, 16)]
    return [*made, made[5][:40] + made[0]]


def replies(ring: Ring, at_once: int) -> dict[str, list[int]]:
    requests = [
        request
        for i, prompt in enumerate(prompts())
        for request in (
            greedy(f"greedy-{i}-{at_once}", prompt, TOKENS),
            sampled(f"sampled-{i}-{at_once}", prompt, TOKENS, seed=i),
        )
    ]
    with ThreadPoolExecutor(at_once) as pool:
        found = list(pool.map(lambda request: ring.generate(request)[0], requests))
    return {r.request.rsplit("-", 1)[0]: ids for r, ids in zip(requests, found, strict=True)}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("llama2-int4", (2, 3)),
        ("llama3-float32", (2, 3)),
        ("qwen3-float32", (3,)),
        ("embedded-int8", (2, 3, 5)),
    ],
)
def test_rings_give_the_same_tokens_alone_and_under_eight_requests(
    name: str, sizes: tuple[int, ...], models: Path, make_ring: RingMaker
) -> None:
    alone = replies(make_ring(models / name, 1), at_once=1)
    assert all(len(ids) == TOKENS for ids in alone.values())
    assert len({tuple(ids) for ids in alone.values()}) > 8
    for stages in sizes:
        ring = make_ring(models / name, stages)
        assert replies(ring, at_once=1) == alone
        assert replies(ring, at_once=8) == alone


def test_a_small_cache_preempts_and_the_tokens_stay(models: Path, make_ring: RingMaker) -> None:
    name = models / "llama3-float32"
    alone = replies(make_ring(name, 1), at_once=1)
    ring = make_ring(name, 2, **{"max-rows": 4})
    assert replies(ring, at_once=8) == alone


def conversations() -> list[Generate]:
    """Six that begin with the same system prompt, and two that are second turns of the first."""
    random = Random(11)
    system = [random.randrange(3, 150) for _ in range(60)]
    questions = [[random.randrange(3, 150) for _ in range(9 + i)] for i in range(6)]
    first = [greedy(f"turn-{i}", system + each, 20) for i, each in enumerate(questions)]
    longer = [system + questions[0] + questions[i] for i in (1, 2)]
    return [*first, *(greedy(f"second-{i}", each, 20) for i, each in enumerate(longer))]


@pytest.mark.parametrize("name", ["llama3-float32", "llama2-int4"])
def test_a_shared_beginning_is_read_once_and_the_tokens_stay(
    name: str, models: Path, make_ring: RingMaker
) -> None:
    asked = conversations()
    apart, cold = make_ring(models / name, 1, **{"max-rows": 1}), []
    for request in asked:
        apart.generate(greedy(f"other-{request.request}", [5] * 40, 2))  # takes the only row
        cold.append(apart.generate(request)[0])
    for stages in (1, 2):
        ring = make_ring(models / name, stages)
        with ThreadPoolExecutor(len(asked)) as pool:
            assert [ids for ids, _, _ in pool.map(ring.generate, asked)] == cold
        counters = ring.client.status()["counters"]
        own = sum(len(request.prompt or ()) - 60 + MIN_PREFIX for request in asked)
        assert counters["prompt_tokens_total"] <= 60 + own < 60 * len(asked)


def test_a_thought_that_the_template_opened_begins_with_its_tag_and_the_tokens_stay(
    models: Path, tmp_path: Path, make_ring: RingMaker
) -> None:
    model = tmp_path / "thinker" / "llama3-float32"
    shutil.copytree(models / "llama3-float32", model)
    (model / "chat_template.jinja").write_text("{{ messages[0].content }}<think>\n\n")
    ring = make_ring(model, 1)
    asked = Generate("plain", Sampling(temperature=0), prompt="hi<think>\n", max_tokens=TOKENS)
    ids, text, done = ring.generate(asked)
    chat = replace(asked, request="chat", prompt=None, messages=[{"role": "user", "content": "hi"}])
    thought = ring.generate(chat)
    assert thought[:2] == (ids, "<think>\n" + text)
    assert thought[2].completion_tokens == done.completion_tokens == len(ids)
    assert thought[2].prompt_tokens == done.prompt_tokens
    resumed = ring.generate(replace(chat, request="resumed", generated=tuple(ids[:9])))
    assert resumed[0] == ids[9:] and "<think>" not in resumed[1] and text.endswith(resumed[1])


@pytest.mark.parametrize("stages", [1, 3])
def test_the_first_stage_begins_a_lone_replys_next_token_before_the_head_asks(
    stages: int, models: Path, make_ring: RingMaker
) -> None:
    ring = make_ring(models / "embedded-int8", stages, speculation="off")
    deadline, foreseen = time.monotonic() + 60, [0]
    while foreseen[0] <= 20 and time.monotonic() < deadline:  # where the head is quicker it is none
        ring.generate(greedy("lone", prompts()[2], 60))
        (served,) = ring.wait_for("serving")["plan"]["rings"]  # type: ignore[index]
        foreseen = [stage["foreseen_steps"] for stage in served["stages"]]  # as of the last beat
    assert foreseen[0] > 20 and not any(foreseen[1:])

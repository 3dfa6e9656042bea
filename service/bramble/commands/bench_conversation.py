"""What `bramble bench --turns` and `--pace` measure: what a conversation feels of the rest.

Turns: the first token of a second turn, and of another conversation with the same beginning,
against a cold one's. Pace: the time between tokens of running streams while a long prompt enters,
against that without.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import pairwise
from typing import Any

from rich.console import Console

from bramble.errors import Broken
from bramble.head.client import Client
from bramble.wire.messages import Delta, Done, Generate, Sampling

REPLY = 16  # tokens of a first turn
QUESTION = 24  # tokens of a second turn
SMALL_PROMPT = 16
SETTLE_S = 1.0  # before gaps count: all streams decode by then


def measure_turns(client: Client, prompt: int, repeat: int, vocab: int) -> dict[str, Any]:
    """Return seconds to the first token: cold, second turn, another conversation; medians."""
    _ask(client, _ids(SMALL_PROMPT, vocab), REPLY)  # warm-up
    cold, second, other = [], [], []
    for _ in range(repeat):
        first = _ids(prompt, vocab)
        done, reply = _ask(client, first, REPLY)
        cold.append(done.first_token_s)
        question = _ids(QUESTION, vocab)
        other.append(_ask(client, first[:-QUESTION] + question, 1)[0].first_token_s)
        second.append(_ask(client, first + reply + question, 1)[0].first_token_s)
    return {
        "prompt_tokens": prompt,
        "cold_s": statistics.median(cold),
        "second_turn_s": statistics.median(second),
        "second_turn_of_cold": statistics.median(map(_ratio, second, cold)),
        "same_beginning_s": statistics.median(other),
        "same_beginning_of_cold": statistics.median(map(_ratio, other, cold)),
    }


def measure_pace(client: Client, prompt: int, streams: int, vocab: int) -> dict[str, Any]:
    """Return seconds between tokens of running streams, undisturbed and while a prompt enters."""
    alone = _ask(client, _ids(prompt, vocab), 1)[0].first_token_s
    stop, times = threading.Event(), [list[float]() for _ in range(streams)]
    with ThreadPoolExecutor(streams) as pool:
        running = [pool.submit(_stream, client, each, stop, vocab) for each in times]
        try:
            while not all(times):
                _check(running)
                time.sleep(0.05)
            time.sleep(SETTLE_S)
            began = time.monotonic()
            time.sleep(max(2.0, alone))
            entered = time.monotonic()
            beside = _ask(client, _ids(prompt, vocab), 1)[0].first_token_s
            ended = time.monotonic()
        finally:
            stop.set()
        for stream in running:
            stream.result()
    quiet = _gaps(times, began, entered)
    disturbed = _gaps(times, entered, ended)
    return {
        "prompt_tokens": prompt,
        "streams": streams,
        "first_token_alone_s": alone,
        "first_token_beside_streams_s": beside,
        "undisturbed_s": quiet,
        "disturbed_s": disturbed,
        "p50_ratio": disturbed["p50"] / quiet["p50"],
        "p99_ratio": disturbed["p99"] / quiet["p99"],
        "p99_of_undisturbed_p50": disturbed["p99"] / quiet["p50"],
    }


def show_turns(turns: dict[str, Any]) -> None:
    Console(highlight=False).print(
        f"first token of {turns['prompt_tokens']} tokens: cold {turns['cold_s']:.2f} s, "
        f"second turn {turns['second_turn_s']:.2f} s ({turns['second_turn_of_cold']:.3f}), "
        f"another conversation with the same beginning {turns['same_beginning_s']:.2f} s "
        f"({turns['same_beginning_of_cold']:.3f})"
    )


def show_pace(pace: dict[str, Any]) -> None:
    quiet, disturbed = pace["undisturbed_s"], pace["disturbed_s"]
    Console(highlight=False).print(
        f"{pace['streams']} streams, ms between tokens: "
        f"{quiet['p50'] * 1000:.0f} (p99 {quiet['p99'] * 1000:.0f}) undisturbed, "
        f"{disturbed['p50'] * 1000:.0f} (p99 {disturbed['p99'] * 1000:.0f}) while "
        f"{pace['prompt_tokens']} tokens enter: {pace['p50_ratio']:.1f} × in the middle, "
        f"{pace['p99_of_undisturbed_p50']:.1f} × at worst; its first token after "
        f"{pace['first_token_beside_streams_s']:.2f} s, alone {pace['first_token_alone_s']:.2f} s"
    )


def _ask(client: Client, tokens: list[int], count: int) -> tuple[Done, list[int]]:
    reply: list[int] = []
    for event in client.generate(_request(tokens, count)):
        if isinstance(event, Delta):
            reply += event.token_ids
        if isinstance(event, Done):
            return event, reply
    raise Broken("the ring ended a stream without a word")


def _stream(client: Client, times: list[float], stop: threading.Event, vocab: int) -> None:
    """Note when each token of one long reply comes, until told to stop."""
    while not stop.is_set():
        request = _request(_ids(SMALL_PROMPT, vocab), None)
        with closing(client.generate(request)) as events:
            for event in events:
                if isinstance(event, Delta):
                    times.append(time.monotonic())
                if stop.is_set():
                    return


def _check(running: Sequence[Future[None]]) -> None:
    """Raise what has ended a stream: a token that is waited for would never come."""
    for stream in running:
        if stream.done():
            stream.result()


def _request(tokens: list[int], count: int | None) -> Generate:
    return Generate(
        uuid.uuid4().hex,
        Sampling(temperature=1.0, seed=random.getrandbits(63)),  # as in bench.py
        prompt=tokens,
        max_tokens=count,
        ignore_eos=True,
    )


def _ids(count: int, vocab: int) -> list[int]:
    """Random token ids, which no prefix cache has seen."""
    return [random.randrange(3, vocab) for _ in range(count)]


def _gaps(times: Sequence[Sequence[float]], start: float, stop: float) -> dict[str, float]:
    """Return quantiles of the time between two tokens of a stream, of those that end in a span."""
    gaps = sorted(b - a for each in times for a, b in pairwise(each) if start <= b < stop)
    if not gaps:
        raise Broken("no stream got a token while it was measured; take a longer --prompt")
    return {
        "p50": gaps[len(gaps) // 2],
        "p99": gaps[len(gaps) * 99 // 100],
        "max": gaps[-1],
    }


def _ratio(part: float, whole: float) -> float:
    return part / whole

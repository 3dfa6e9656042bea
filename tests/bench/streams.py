"""The questions put to every server alike, and timed by the asking side's own clock."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bramble.errors import Broken

from tests import texts

SMALL_PROMPT = 16  # tokens before a decode measurement, so that prefill is no part of it
DECODE_TOKENS = 64
PREFILL_TOKENS = 512
STREAM_PROMPT, STREAM_TOKENS = 128, 64
TURN_PROMPT, TURN_REPLY, TURN_NEXT = 1000, 16, 24  # tokens: the talk so far, its reply, a question
FIRST_ID = 300  # before it are special tokens and bytes
RANDOM = "random tokens"  # a reply that repeats nothing at all
TEXTS = (*texts.REPLIES, RANDOM)
GUESSED_TOKENS = 128  # of a reply, without and with guesses

Measured = dict[str, list[float]]


@dataclass(frozen=True, slots=True)
class Reply:
    token_ids: list[int]
    first_s: float  # from asking to the first token
    last_s: float  # to the last

    @property
    def decode_tokens_s(self) -> float:
        return (len(self.token_ids) - 1) / (self.last_s - self.first_s)


Ask = Callable[[list[int], int], Reply]  # prompt, tokens to generate


def reply(tokens: Iterable[int], asked_at: float, wanted: int) -> Reply:
    """Time a stream of token ids. Raises Broken if it is not of the wanted length."""
    ids, first_s, last_s = [], 0.0, 0.0
    for token_id in tokens:
        last_s = time.monotonic() - asked_at
        first_s = first_s or last_s
        ids.append(token_id)
    if len(ids) != wanted:
        raise Broken(f"asked for {wanted} tokens, got {len(ids)}")
    return Reply(ids, first_s, last_s)


@dataclass(frozen=True, slots=True)
class Text:
    """A question and its reply, as stages are told it (told_stage.py)."""

    token_ids: list[int]  # of both
    num_prompt: int

    @property
    def prompt(self) -> list[int]:
        return self.token_ids[: self.num_prompt]

    @property
    def reply(self) -> list[int]:
        return self.token_ids[self.num_prompt :]


def told() -> dict[str, Text]:
    """What the texts are called → the texts. Each has a prompt of another length."""
    found = {}
    for name, make in texts.REPLIES.items():
        prompt, reply = make()
        num_prompt = len(texts.tokens_of(f"{prompt}\n\n"))
        ids = [FIRST_ID + each for each in texts.tokens_of(f"{prompt}\n\n{reply}")]
        found[name] = Text(ids[: num_prompt + GUESSED_TOKENS], num_prompt)
    return found


def random_ids(count: int, vocab: int) -> list[int]:
    """A prompt that no cache has seen."""
    return [random.randrange(FIRST_ID, vocab) for _ in range(count)]


def decode(ask: Ask, vocab: int) -> Measured:
    found = ask(random_ids(SMALL_PROMPT, vocab), DECODE_TOKENS)
    return {"decode": [found.decode_tokens_s]}


def prefill(ask: Ask, vocab: int) -> Measured:
    found = ask(random_ids(PREFILL_TOKENS, vocab), 1)
    return {f"prefill {PREFILL_TOKENS}": [PREFILL_TOKENS / found.first_s]}


def together(ask: Ask, vocab: int, streams: int) -> Measured:
    """So many clients at once; the speed counts from the first question to the last answer."""
    prompts = [random_ids(STREAM_PROMPT, vocab) for _ in range(streams)]
    with ThreadPoolExecutor(streams) as pool:
        started = time.monotonic()
        replies = list(pool.map(lambda prompt: ask(prompt, STREAM_TOKENS), prompts))
        seconds = time.monotonic() - started
    return {
        f"streams {streams}": [streams * STREAM_TOKENS / seconds],
        f"first {streams}": [1000 * statistics.median(each.first_s for each in replies)],
    }


def turns(ask: Ask, vocab: int) -> Measured:
    """A conversation's next turn repeats all that was said; only the question is new."""
    prompt = random_ids(TURN_PROMPT, vocab)
    cold = ask(prompt, TURN_REPLY)
    second = ask([*prompt, *cold.token_ids, *random_ids(TURN_NEXT, vocab)], 1)
    return {"turn cold": [1000 * cold.first_s], "turn second": [1000 * second.first_s]}

"""Picks the next token of each sequence from its full logits.

It knows sequences by their id and what was said to them; rows, layers and steps it does not.
Numpy but for the top-p cut: numba's exp is scalar, 5 times slower over a 128k vocabulary.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput, BadShard, Broken
from bramble.stage.uniform import uniform
from bramble.wire.messages import STUCK, UNREAD, Open, Sampling

if TYPE_CHECKING:  # else its library would be loaded by stages that never see a grammar
    from bramble.model.grammar import Grammars, Matcher

log = logging.getLogger(__name__)

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]

LARGEST = 1e6  # of what logits are added to or multiplied with, so that they stay finite
MAX_TOP_LOGPROBS = 1024
DRAW_BLOCK = 512  # about the square root of the largest vocabularies


@dataclass(slots=True)
class State:
    """What the sampler remembers of one sequence; tokens are counted only if a penalty asks."""

    sampling: Sampling
    num_prompt_tokens: int
    seen: set[int] = field(default_factory=set)  # token ids of prompt and reply
    replied: Counter[int] = field(default_factory=Counter)  # token id → times in the reply
    matcher: Matcher | None = None  # where the reply is in its grammar
    is_unread: bool = False  # it has a grammar, which cannot be read here

    def feed(self, token_ids: Sequence[int], position: int) -> None:
        """Take in tokens; `position` is the first one's."""
        if self.matcher is None and not self.sampling.has_penalty:
            return
        reply = token_ids[max(0, self.num_prompt_tokens - position) :]
        if self.sampling.has_penalty:
            self.seen.update(token_ids)
            self.replied.update(reply)
        if self.matcher is not None:
            self.matcher.feed(reply)


@dataclass(frozen=True, slots=True)
class Choice:
    """token_ids int32 (n,); logprobs float32 (n,), 0 = unasked; top_ids, top_logprobs (n, k)."""

    token_ids: Ids
    logprobs: Floats
    top_ids: Ids
    top_logprobs: Floats


class Sampler:
    def __init__(self, read_grammars: Callable[[], Grammars] | None = None) -> None:
        """read_grammars  called at the first grammar; raises BadShard or BadInput"""
        self._read_grammars = read_grammars
        self._grammars: Grammars | None = None
        self._states: dict[int, State] = {}

    def __len__(self) -> int:
        return len(self._states)

    def clear(self) -> None:
        self._states.clear()

    def close(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            self._states.pop(sequence, None)

    def open(self, message: Open) -> None:
        """Remember a sequence; `history` counts as fed, this step's tokens included.

        Raises Broken for numbers that no token can be picked by.
        """
        _check(message)
        state = State(message.sampling, message.num_prompt_tokens)
        if message.grammar:
            self.get_ready()
            state.is_unread = self._grammars is None
            state.matcher = self._grammars.compile(message.grammar) if self._grammars else None
        state.feed(message.history, 0)
        self._states[message.sequence] = state

    def get_ready(self) -> None:
        """Read what grammars are read with, if that was not done; where it fails the log says why.

        May be called in another thread while nothing else is.
        """
        if self._grammars is None and self._read_grammars is not None:
            try:
                self._grammars = self._read_grammars()
            except (BadInput, BadShard) as problem:
                log.error("event=no_grammars reason=%r", str(problem))

    def feed(self, sequence: int, token_ids: Sequence[int], position: int) -> None:
        """Count a step's tokens for the penalties of an open sequence; another's are ignored."""
        state = self._states.get(sequence)
        if state is not None:
            state.feed(token_ids, position)

    def sample(self, logits: Floats, sequences: Sequence[int], positions: Sequence[int]) -> Choice:
        """Pick one token for each row of logits; STUCK or UNREAD where its grammar has none.

        logits     float32 (n, vocab_size), not changed
        sequences  n ids of open sequences
        positions  n, of the tokens that are picked: the random numbers depend on them

        Raises Broken for a sequence that was not opened and for logits that are not finite.
        """
        states = [self._state(sequence) for sequence in sequences]
        n, width = len(states), max(0, *(state.sampling.top_logprobs for state in states), 0)
        choice = Choice(
            np.zeros(n, np.int32),
            np.zeros(n, np.float32),
            np.full((n, width), -1, np.int32),
            np.full((n, width), -np.inf, np.float32),
        )
        for i, (state, row) in enumerate(zip(states, logits, strict=True)):
            largest = _largest_of(row, sequences[i])
            token = pick(row, state, positions[i])
            choice.token_ids[i] = token
            k = state.sampling.top_logprobs
            if k < 0 or token < 0:
                continue
            normalizer = _log_sum_exp(row, largest)
            choice.logprobs[i] = row[token] - normalizer
            if k > 0:
                top = _largest(row, k)
                choice.top_ids[i, : len(top)] = top
                choice.top_logprobs[i, : len(top)] = row[top] - normalizer
        return choice

    def verify(
        self, logits: Floats, sequence: int, position: int, token_ids: Sequence[int]
    ) -> Choice:
        """Pick token after token of one sequence, as long as each is what was guessed.

        logits     float32 (t, vocab_size), behind each of the tokens
        position   of the first token
        token_ids  t: the newest token, and t - 1 guesses of what follows

        Returns the guesses that came true and the one token behind them: 1 to t, each as if its
        step had carried it alone.
        """
        choices: list[Choice] = []
        for i, token_id in enumerate(token_ids):
            self.feed(sequence, [token_id], position + i)
            choices.append(self.sample(logits[i : i + 1], [sequence], [position + i + 1]))
            if token_ids[i + 1 : i + 2] != choices[-1].token_ids.tolist():
                break
        return Choice(
            np.concatenate([choice.token_ids for choice in choices]),
            np.concatenate([choice.logprobs for choice in choices]),
            np.concatenate([choice.top_ids for choice in choices]),
            np.concatenate([choice.top_logprobs for choice in choices]),
        )

    def _state(self, sequence: int) -> State:
        state = self._states.get(sequence)
        if state is None:
            raise Broken(f"sequence {sequence} was to be sampled before it was opened")
        return state


def _check(message: Open) -> None:
    """Refuse numbers that leave float32, or all memory; the head allows a client much less."""
    s = message.sampling
    numbers = (s.temperature, s.top_p, s.min_p, s.presence_penalty, s.frequency_penalty)
    biases = (bias for _, bias in s.logit_bias)
    if not all(-LARGEST <= number <= LARGEST for number in (*numbers, *biases)):
        raise Broken(f"sequence {message.sequence} was opened with {s}: numbers too large")
    if not 1 / LARGEST <= s.repetition_penalty <= LARGEST or s.top_logprobs > MAX_TOP_LOGPROBS:
        raise Broken(
            f"sequence {message.sequence} was opened with a repetition penalty of "
            f"{s.repetition_penalty} and {s.top_logprobs} logprobs"
        )


def compiled_nucleus() -> Any:
    """Import numba here: its 0.3 s and 45 MB are for the last stage, and not for its start."""
    from bramble.stage.nucleus import nucleus

    return nucleus


def pick(logits: Floats, state: State, position: int) -> int:
    """Return one token id; equal logits go to the lowest id.

    What a grammar forbids is taken out behind the penalties, which may raise it, and before all
    that compares: top_k counts and top_p weighs allowed tokens alone, and no rounding draws others.
    """
    if state.is_unread:
        return UNREAD
    logits = penalize(logits, state)
    if state.matcher is None:
        return choose(logits, state.sampling, position)
    if state.sampling.temperature <= 0 and state.matcher.surely_allows(
        best := int(logits.argmax())
    ):
        return best  # as the mask would have it, at a tenth of the time
    allowed = np.flatnonzero(state.matcher.mask())
    if not len(allowed):
        return STUCK
    return int(allowed[choose(logits[allowed], state.sampling, position)])


def choose(logits: Floats, sampling: Sampling, position: int) -> int:
    """Return the index of one of the logits."""
    if sampling.temperature <= 0:
        return int(logits.argmax())
    ids, weights = warp(logits, sampling)
    index = draw(weights, uniform(sampling.seed, position))
    return index if ids is None else int(ids[index])


def draw(weights: Floats, u: float) -> int:
    """Return the index whose share of the summed weights holds u, 0 <= u < 1.

    Sums of blocks first: a running sum over a whole vocabulary takes ten times as long.
    """
    starts = np.arange(0, len(weights), DRAW_BLOCK)
    sums = np.add.reduceat(weights, starts, dtype=np.float64)
    bounds = np.cumsum(sums)
    threshold = u * bounds[-1]
    block = min(int(np.searchsorted(bounds, threshold, side="right")), len(sums) - 1)
    start = block * DRAW_BLOCK
    rest = threshold - (bounds[block - 1] if block else 0.0)
    within = np.cumsum(weights[start : start + DRAW_BLOCK], dtype=np.float64)
    index = min(int(np.searchsorted(within, rest, side="right")), len(within) - 1)
    return start + index


def penalize(logits: Floats, state: State) -> Floats:
    """Apply logit_bias and the three penalties; returns the input itself where none applies."""
    sampling = state.sampling
    if not sampling.logit_bias and not state.seen:
        return logits
    logits = logits.copy()
    for token_id, bias in sampling.logit_bias:
        if 0 <= token_id < len(logits):  # the head refuses others
            logits[token_id] += np.float32(bias)
    if state.seen and sampling.repetition_penalty != 1.0:
        ids = np.fromiter(state.seen, np.int64)
        found = logits[ids]
        factor = np.float32(sampling.repetition_penalty)
        logits[ids] = np.where(found < 0, found * factor, found / factor)
    if state.replied:
        ids = np.fromiter(state.replied.keys(), np.int64)
        counts = np.fromiter(state.replied.values(), np.float32)
        logits[ids] -= sampling.presence_penalty + sampling.frequency_penalty * counts
    return logits


def warp(logits: Floats, sampling: Sampling) -> tuple[NDArray[np.intp] | None, Floats]:
    """Apply temperature, top_k, top_p, min_p, as transformers' logits warpers in that order.

    returns    ids that remain in rising order (None = all), and their weights relative to the
               largest, float32
    """
    weights = logits - logits.max()  # in place from here: fresh pages cost more than exp does
    weights /= np.float32(max(sampling.temperature, 1e-6))
    np.exp(weights, out=weights)
    ids: NDArray[np.intp] | None = None
    if 0 < sampling.top_k < len(logits):
        ids = np.flatnonzero(logits >= np.partition(logits, -sampling.top_k)[-sampling.top_k])
        weights = weights[ids]
    if sampling.top_p < 1.0:
        kept = compiled_nucleus()(weights, sampling.top_p)
        ids, weights = kept if ids is None else ids[kept], weights[kept]
    if sampling.min_p > 0.0:
        kept = np.flatnonzero(weights >= np.float32(min(sampling.min_p, 1.0)))
        ids, weights = kept if ids is None else ids[kept], weights[kept]
    return ids, weights


def _largest(logits: Floats, k: int) -> NDArray[np.intp]:
    """Indices of the k largest, largest first; equal ones by rising index."""
    k = min(k, len(logits))
    candidates = np.flatnonzero(logits >= np.partition(logits, -k)[-k])
    order = np.argsort(-logits[candidates], kind="stable")[:k]
    return candidates[order]


def _largest_of(logits: Floats, sequence: int) -> np.float32:
    """Return the largest logit. Raises Broken if one is not a number, or infinite."""
    largest: np.float32 = logits.max()
    if not math.isfinite(largest):  # a maximum passes NaN on
        raise Broken(
            f"the logits of sequence {sequence} are not finite: a shard, or this node's memory, "
            "is damaged"
        )
    return largest


def _log_sum_exp(logits: Floats, largest: np.float32) -> np.float32:
    shifted = logits - largest
    total = np.exp(shifted, out=shifted).sum()
    return np.float32(largest + np.log(total))

"""What the scheduler says of a step, and what comes of one: plain values."""

from __future__ import annotations

from dataclasses import dataclass

from bramble.head.sequence import Sequence
from bramble.wire.messages import StepKind


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a Step has to say; token ids of row i are token_ids[i]."""

    number: int
    lane: int
    kind: StepKind
    is_sampled: bool
    first_row: int
    sequences: tuple[Sequence, ...]
    ids: tuple[int, ...]  # the sequences' ids when this was planned
    positions: tuple[int, ...]
    token_ids: tuple[tuple[int, ...], ...]
    swaps: tuple[tuple[int, int, int], ...]
    copies: tuple[tuple[int, int, int, int], ...]
    trims: tuple[tuple[int, int], ...]
    opens: tuple[Sequence, ...]
    closes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Emission:
    """One new token of a sequence.

    index       its place within the answer that brought it
    num_tokens  of the sequence up to and with it: a step with guesses may bring several
    """

    sequence: Sequence
    token_id: int
    index: int
    num_tokens: int

    @property
    def is_newest(self) -> bool:
        return self.num_tokens == len(self.sequence.tokens)

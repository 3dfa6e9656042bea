"""The step that a lone sequence will most likely be asked for next, computed before it is asked.

What comes after a sampled token is that token. Until the head has said so the first stage would
wait, and its core would cool down; so the last one tells it what was sampled. Only where the step
is asked for does anything of it leave the stage; else what it wrote behind the row's end counts no
more.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bramble.wire.messages import Step, StepKind

EARNED = 0.02  # steps, per step of a lone sequence: so much of all steps may have been in vain
MISS = 1.0  # steps that one computed in vain takes


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A DECODE step of one row, up to what the stage computes of it.

    length      tokens that the row's memory had been touched for before
    hidden      float32 (1, 1, hidden_size), as Shard.forward returns it
    logits      float32 (1, vocab_size), where the stage has the lm_head too
    compute_us  µs that it took
    """

    sequence: int
    row: int
    position: int
    token_id: int
    length: int
    hidden: NDArray[np.float32]
    logits: NDArray[np.float32] | None
    compute_us: float

    def is_asked_by(self, step: Step) -> bool:
        return (
            step.kind is StepKind.DECODE
            and not (step.is_check or step.swaps or step.copies or step.trims)
            and step.first_row == self.row
            and step.sequences.tolist() == [self.sequence]
            and step.positions.tolist() == [self.position]
            and step.token_ids.tolist() == [[self.token_id]]
        )


class Account:
    """What foresight may cost, in steps: guesses of the head (VERIFY) come instead of the step."""

    def __init__(self) -> None:
        self._balance = MISS

    @property
    def has_credit(self) -> bool:
        return self._balance >= MISS

    def charge(self) -> None:
        """Book a step that was computed in vain."""
        self._balance -= MISS

    def earn(self) -> None:
        self._balance = min(MISS, self._balance + EARNED)

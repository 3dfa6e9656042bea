"""A sequence: the token ids of one request's prompt and reply, and how far they are computed."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from bramble.errors import Broken, Unavailable
from bramble.head.flips import Flips, without_lone
from bramble.head.guesser import Guesser
from bramble.wire.messages import Finish, Sampling

if TYPE_CHECKING:
    from bramble.head.suspicion import Suspicion


class State(Enum):
    WAITING = "waiting"  # owns no row
    PREFILLING = "prefilling"  # owns a row; tokens are still to be sent
    SAMPLING = "sampling"  # all tokens are sent; the next one is being sampled
    READY = "ready"  # the newest token is to be sent with its lane's next decode step
    FINISHED = "finished"


@dataclass(slots=True, eq=False)
class Sequence:
    """Mutable, and changed by the scheduler that has it.

    id          names this life of the sequence in steps; a preempted sequence gets a higher one,
                so that what is still under way for the old one finds nobody, at whichever ring
    arrival     its place in every queue: when it was first accepted, in µs; 0 = not yet
    max_tokens  most tokens of prompt and reply together
    may_guess   its steps may carry guesses: see head/suspicion.py
    deaths      of stages while a step of it was under way: see head/suspicion.py
    suspicion   what of it has to be computed alone, until it is cleared
    problem     why it was ended, for whoever asked; None if it was not
    grammar     what its reply has to be; "" = anything
    flips       which tokens are computed as a prompt and which as a reply, see head/flips.py
    is_exact    its tokens are always computed as `flips` says at first, so that a reply goes on to
                the bit after a loss; else they may be computed as is cheaper
    """

    request: str
    tokens: list[int]
    num_prompt_tokens: int
    max_tokens: int
    sampling: Sampling = field(default_factory=Sampling)
    eos_ids: frozenset[int] = frozenset()
    id: int = 0
    arrival: int = 0
    state: State = State.WAITING
    ring: int = 0  # of the head's rings; set by the fleet
    row: int = -1
    num_sent: int = 0  # tokens that a step has carried, guesses too, or whose row was inherited
    num_prefilled: int = 0  # tokens whose steps came back; for progress
    num_cached: int = 0  # of the prompt: what was in the cache when it was first read
    preemptions: int = 0
    finish: Finish | None = None
    may_guess: bool = True
    deaths: int = 0
    suspicion: Suspicion | None = None
    problem: Broken | Unavailable | None = None
    grammar: str = ""
    flips: Flips = ()
    is_exact: bool = False
    guesser: Guesser = field(default_factory=Guesser)

    def __post_init__(self) -> None:
        self.flips = without_lone(self.flips or (self.num_prompt_tokens,))

    @property
    def num_completion_tokens(self) -> int:
        return len(self.tokens) - self.num_prompt_tokens

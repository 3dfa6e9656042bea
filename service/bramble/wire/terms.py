"""Terms: which head a stage obeys, said in the beats of the control conversation. Values only.

A head *claims* a term from each stage; a stage *vows* one to a single head at a time, and keeps
that vow for PROMISE_S after the head's last claim. A head that does not hear its claim back for
LEASE_S stops answering. WIRE.md ("Terms") says why no two heads then serve over one stage.
"""

from __future__ import annotations

from dataclasses import dataclass

LEASE_S = 5.0  # by the head's clock, from the moment at which it sent the claim that came back
PROMISE_S = 6.0  # by the stage's clock, from the claim's arrival: clocks may differ by a fifth
MAX_TERM = 1 << 53  # what JSON's readers agree on; a term beyond is nobody's


@dataclass(frozen=True, slots=True)
class Claim:
    """What a head says in a Beat to a stage that is to obey it."""

    term: int  # higher than any that it has heard of
    sent_s: float  # its clock; a stage sends the newest back
    is_over: bool = False  # the head gives this term up: the stage is free at once


@dataclass(frozen=True, slots=True)
class Vow:
    """What a stage says in Hello and Beat of the head that it obeys."""

    term: int  # never falls, also over restarts; 0 = none yet
    head: str  # the node of the head that has the term
    incarnation: int  # and the process there
    sent_s: float  # of the newest claim of that head which the stage has taken in; 0 = none
    is_free: bool  # another head may have it with a higher term

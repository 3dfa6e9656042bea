"""Terms: which head a stage obeys, said in the beats of the control conversation.

A head *claims* a term from each stage. A stage *vows* one to a single head at a time, keeps that
vow on disk, and for PROMISE_S after the head's last claim gives no other head a term. A head that
does not hear its claim back for LEASE_S stops answering. WIRE.md ("Terms") says why no two heads
then serve at once.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from bramble.model.disk import settle

log = logging.getLogger(__name__)

LEASE_S = 5.0  # by the head's clock, from the moment at which it sent the claim that came back
PROMISE_S = 6.0  # by the stage's clock, from the claim's arrival: their rates may differ by 9 %
MAX_TERM = 1 << 53  # what JSON's readers agree on; a term beyond is nobody's
EPOCH_BITS = 16  # of an epoch's number within its term; the term's lowest bits stand above them


@dataclass(frozen=True, slots=True)
class Claim:
    """What a head says in a Beat to a stage that is to obey it."""

    term: int  # higher than any that it has heard of
    sent_s: float  # its clock; a stage sends the newest back
    is_over: bool = False  # the head gives this term up: the stage is free at once


@dataclass(frozen=True, slots=True)
class Vow:
    """What a stage says in Hello and Beat of the head that it obeys."""

    term: int = 0  # never falls, also over restarts; 0 = none yet
    head: str = ""  # the node of the head that has the term
    incarnation: int = 0  # and the process there
    sent_s: float = 0.0  # of the newest claim of that head which the stage took in; 0 = none
    is_free: bool = True  # another head may have it with a higher term


def epoch_of(term: int, number: int) -> int:
    """Return the u32 that stands for an epoch on the wire: no two neighbouring terms share one."""
    mask = (1 << EPOCH_BITS) - 1
    return (term & mask) << EPOCH_BITS | number & mask


class Kept:
    """A term on disk, and whose it is. Without a path it lasts as long as the process."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> Vow:
        """Return what was kept, held for bound; the same of term 0 if that cannot be read."""
        if self._path is None:
            return Vow()
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            term, head, incarnation = kept["term"], kept["head"], kept["incarnation"]
        except FileNotFoundError:
            return Vow()
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.error("event=term_unreadable file=%s reason=%r", self._path, str(error))
            return Vow(is_free=False)
        numbers = (term, incarnation)
        if not (all(type(n) is int for n in numbers) and isinstance(head, str) and term >= 0):
            log.error("event=term_unreadable file=%s reason='of wrong types'", self._path)
            return Vow(is_free=False)
        return Vow(term, head, incarnation, is_free=False)

    def write(self, vow: Vow) -> None:
        """Have the vow outlive a pulled plug. Raises OSError."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.partial")
        kept = {"term": vow.term, "head": vow.head, "incarnation": vow.incarnation}
        partial.write_text(json.dumps(kept) + "\n", encoding="utf-8")
        settle(partial, self._path)

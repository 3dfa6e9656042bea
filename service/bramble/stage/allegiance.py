"""Which head this stage obeys: the highest term that it has ever granted, kept over restarts.

Pure but for the file that keeps the term; the time is passed in.
"""

from __future__ import annotations

import logging

from bramble.wire.terms import MAX_TERM, PROMISE_S, Claim, Kept, Vow

log = logging.getLogger(__name__)


class Allegiance:
    def __init__(self, kept: Kept, now: float, is_alone: bool = False) -> None:
        """is_alone  only one head is known: a term that cannot be kept is granted all the same"""
        self._kept, self._is_alone = kept, is_alone
        vow = kept.read()
        self.term, self.head, self._incarnation = vow.term, vow.head, vow.incarnation
        self._sent_s = 0.0
        # A process that has ended may have renewed its vow just before.
        self._bound_until = now if vow.is_free else now + PROMISE_S
        self._is_complaining = False

    def vow(self, now: float) -> Vow:
        return Vow(self.term, self.head, self._incarnation, self._sent_s, self.is_free(now))

    def is_free(self, now: float) -> bool:
        return now >= self._bound_until

    def obeys(self, head: str, incarnation: int) -> bool:
        """True if the term is this head process's."""
        return self.term > 0 and (head, incarnation) == (self.head, self._incarnation)

    def hear(self, head: str, incarnation: int, claim: Claim, now: float) -> bool:
        """Take in a claim of the head on the node `head`; True if the vow is another now.

        A later process on the same node is obeyed at once: the earlier one has ended, or it could
        not have its port.
        """
        is_held = self.obeys(head, incarnation) and claim.term == self.term
        if is_held and claim.is_over:
            was_free, self._bound_until = self.is_free(now), now
            return not was_free
        if is_held:
            self._renew(claim, now)
            return False
        is_higher = self.term < claim.term <= MAX_TERM
        is_its = self.term > 0 and head == self.head
        if claim.is_over or not is_higher or not (is_its or self.is_free(now)):
            return False
        return self._grant(head, incarnation, claim, now)

    def refusal(self, head: str, term: int) -> str:
        """Say why an assignment of that head is not taken, for a person."""
        theirs = f"the head on {head or 'this machine'} came with term {term}"
        if self.term == 0:
            return f"this stage could not keep a term on its disk; {theirs}"
        return (
            f"this stage obeys the head on {self.head or 'this machine'} (term {self.term}), "
            f"and {theirs}: only one of them may lead it"
        )

    def _grant(self, head: str, incarnation: int, claim: Claim, now: float) -> bool:
        """Keep the new vow, then speak of it: what was said once holds over a power cut."""
        try:
            self._kept.write(Vow(claim.term, head, incarnation, is_free=False))
        except OSError as error:
            if not self._is_complaining:
                now_what = "granted until this process ends" if self._is_alone else "not granted"
                log.error("event=term_not_kept reason=%r now=%r", str(error), now_what)
            self._is_complaining = True
            if not self._is_alone:
                return False
        else:
            self._is_complaining = False
        log.info("event=term term=%d head=%s before=%s", claim.term, head, self.head or "none")
        self.term, self.head, self._incarnation = claim.term, head, incarnation
        self._sent_s = 0.0
        self._renew(claim, now)
        return True

    def _renew(self, claim: Claim, now: float) -> None:
        self._sent_s = max(self._sent_s, claim.sent_s)
        self._bound_until = now + PROMISE_S

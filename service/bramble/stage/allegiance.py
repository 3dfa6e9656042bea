"""Which head this stage obeys: the highest term that it has ever granted, kept over restarts.

Pure but for the file that keeps the term; the time is passed in.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from bramble.model.disk import settle
from bramble.wire.terms import MAX_TERM, PROMISE_S, Claim, Vow

log = logging.getLogger(__name__)


class Kept:
    """The term on disk. Without a path it lasts as long as the process."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> Vow:
        """Return the vow that was kept; that of a new stage where none was, or none legible."""
        new = Vow(0, "", 0, 0.0, True)
        if self._path is None or not self._path.exists():
            return new
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            term, head, incarnation = kept["term"], kept["head"], kept["incarnation"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.error("event=term_unreadable file=%s reason=%r", self._path, str(error))
            return new
        if not (isinstance(term, int) and isinstance(head, str) and isinstance(incarnation, int)):
            log.error("event=term_unreadable file=%s reason='of wrong types'", self._path)
            return new
        return Vow(term, head, incarnation, 0.0, is_free=False)

    def write(self, vow: Vow) -> None:
        """Have the vow outlive a pulled plug. Raises OSError."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(f"{self._path.name}.partial")
        kept = {"term": vow.term, "head": vow.head, "incarnation": vow.incarnation}
        partial.write_text(json.dumps(kept) + "\n", encoding="utf-8")
        settle(partial, self._path)


class Allegiance:
    def __init__(self, kept: Kept, now: float) -> None:
        self._kept = kept
        vow = kept.read()
        self.term, self.head, self._incarnation = vow.term, vow.head, vow.incarnation
        self._sent_s = 0.0
        # A process that has ended may have renewed its vow just before.
        self._bound_until = now if vow.term == 0 else now + PROMISE_S
        self._is_complaining = False

    def vow(self, now: float) -> Vow:
        return Vow(self.term, self.head, self._incarnation, self._sent_s, self.is_free(now))

    def is_free(self, now: float) -> bool:
        return now >= self._bound_until

    def hear(self, head: str, incarnation: int, claim: Claim, now: float) -> bool:
        """Take in a claim of the head on the node `head`; True if the vow is another now.

        A later process on the same node is obeyed at once: the earlier one has ended, or it could
        not have its port.
        """
        is_held = (claim.term, head, incarnation) == (self.term, self.head, self._incarnation)
        if is_held and claim.is_over:
            was_free, self._bound_until = self.is_free(now), now
            return not was_free
        if is_held:
            self._renew(claim, now)
            return False
        is_higher = self.term < claim.term <= MAX_TERM
        if claim.is_over or not is_higher or not (head == self.head or self.is_free(now)):
            return False
        return self._grant(head, incarnation, claim, now)

    def _grant(self, head: str, incarnation: int, claim: Claim, now: float) -> bool:
        try:
            self._kept.write(Vow(claim.term, head, incarnation, 0.0, is_free=False))
        except OSError as error:
            if not self._is_complaining:
                log.error("event=term_not_kept reason=%r now='not granted'", str(error))
            self._is_complaining = True
            return False
        self._is_complaining = False
        log.info("event=term term=%d head=%s before=%s", claim.term, head, self.head or "none")
        self.term, self.head, self._incarnation = claim.term, head, incarnation
        self._sent_s = 0.0
        self._renew(claim, now)
        return True

    def _renew(self, claim: Claim, now: float) -> None:
        self._sent_s = max(self._sent_s, claim.sent_s)
        self._bound_until = now + PROMISE_S

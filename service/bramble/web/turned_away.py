"""Who was turned away, and why: one log line a minute at most, however many there are."""

from __future__ import annotations

import logging
import math
from collections import Counter

REPORT_S = 60.0

logger = logging.getLogger(__name__)


class TurnedAway:
    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()
        self._addresses: Counter[str] = Counter()
        self._reported_at = -math.inf

    def count(self, reason: str, address: str) -> None:
        self._reasons[reason] += 1
        self._addresses[address] += 1

    def report(self, now: float) -> None:
        """Say who it was since the last time, where that is long enough ago."""
        if not self._reasons or now - self._reported_at < REPORT_S:
            return
        self._reported_at = now
        ((address, times),) = self._addresses.most_common(1)
        counts = " ".join(f"{reason}={count}" for reason, count in self._reasons.items())
        logger.warning("event=turned_away %s most_of=%s times=%d", counts, address, times)
        self._reasons.clear()
        self._addresses.clear()

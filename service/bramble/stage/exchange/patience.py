"""How long a member waits for others, and what it does meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from bramble.errors import Broken

ALIVE_S = 0.1


class Patience:
    """Calls `alive` about each ALIVE_S while there is waiting, and ends it after `limit_s`."""

    def __init__(self, nodes: Sequence[str], alive: Callable[[], None], limit_s: float) -> None:
        self._nodes = nodes
        self._alive = alive
        self._limit_s = limit_s
        self._since = self._alive_at = time.monotonic()

    def begin(self) -> None:
        """Something has come: from here on nothing has."""
        self._since = time.monotonic()

    def check(self, missing: Sequence[int]) -> bool:
        """Return True if `alive` was called. Raises what that raises; Broken beyond the limit.

        missing    ranks that are waited for
        """
        now = time.monotonic()
        if now - self._since > self._limit_s:
            named = " and ".join(f"rank {rank} ({self._nodes[rank]})" for rank in missing)
            raise Broken(
                f"nothing came from {named} for {self._limit_s:g} s in an exchange; check the "
                "network to there, and whether its firewall lets the members' port through"
            )
        if now - self._alive_at < ALIVE_S:
            return False
        self._alive_at = now
        self._alive()
        return True

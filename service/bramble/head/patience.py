"""How long a request waits for heads that are away, or die again and again. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from bramble.errors import Unavailable
from bramble.wire.messages import Delta, Progress

SILENCE_S = 3.0  # the head sends something every second
GIVE_UP_S = 60.0  # since the last sign of any head
LOST_S = 600.0  # since the first loss after which the request has come no further


@dataclass(slots=True)
class Patience:
    """Hears of every message; `must_ask` says when to ask again."""

    now: float
    _heard_at: float = 0.0
    _asked_at: float = 0.0
    _lost_at: float | None = None
    _best: tuple[int, int] = (1 << 62, 0)  # place in the queue, and what is left of the prompt

    def __post_init__(self) -> None:
        self._heard_at = self._asked_at = self.now

    def hear(self, message: object, now: float) -> None:
        """Note a message of a head."""
        self._heard_at = self._asked_at = now
        if isinstance(message, Delta):
            self._lost_at = None
        elif isinstance(message, Progress) and message.prompt_tokens:
            unread = message.prompt_tokens - message.prefilled_tokens
            if (place := (message.queue_position, unread)) < self._best:
                self._best, self._lost_at = place, None

    def silent_s(self, now: float) -> float:
        """Return for how long no head has said anything."""
        return now - self._heard_at

    def must_ask(self, now: float) -> bool:
        """True if it is time to ask again. Raises Unavailable where nobody would wait longer."""
        if now - self._heard_at > GIVE_UP_S:
            raise Unavailable(f"the head has not answered for {GIVE_UP_S:.0f} s")
        if now - self._asked_at <= SILENCE_S:
            return False
        self._asked_at = now
        if self._lost_at is None:
            self._lost_at = now
        if now - self._lost_at > LOST_S:
            raise Unavailable(
                f"the head was lost again and again for {LOST_S / 60:.0f} minutes, in which this "
                "request came no further; see `systemctl status bramble-head`"
            )
        return True

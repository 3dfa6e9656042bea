"""Which of many equal troubles to tell of: the first, and then ever more rarely. Pure."""

from __future__ import annotations

FIRST_S = 60.0  # from the first to the second telling; doubles, up to
MOST_S = 3600.0


class Repeats:
    def __init__(self) -> None:
        self._text = ""
        self._count = 0
        self._since = self._due_at = 0.0
        self._wait_s = FIRST_S

    def tell(self, text: str, now: float) -> str | None:
        """Return what to add to the log's line about this trouble; None if it is not due.

        Another text is another trouble.
        """
        if text != self._text:
            self._text, self._count, self._since = text, 1, now
            self._wait_s, self._due_at = FIRST_S, now + FIRST_S
            return ""
        self._count += 1
        if now < self._due_at:
            return None
        self._wait_s = min(2 * self._wait_s, MOST_S)
        self._due_at = now + self._wait_s
        return f" times={self._count} since_s={now - self._since:.0f}"

    @property
    def is_again(self) -> bool:
        """True if the trouble that was told of last has come more than once."""
        return self._count > 1

    def end(self) -> None:
        """It is over: should it come again, that is told at once."""
        self._text, self._count = "", 0

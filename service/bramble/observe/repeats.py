"""Which of many equal troubles to tell of: the first, and then ever more rarely. Pure."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_S = 60.0  # from the first to the second telling; doubles, up to
MOST_S = 3600.0
MAX_TEXTS = 16  # that are told apart; more are as good as new


@dataclass(frozen=True, slots=True)
class Again:
    """How often a trouble has come, in how many seconds; as text, what a line of the log adds."""

    times: int
    since_s: float

    def __str__(self) -> str:
        return "" if self.times == 1 else f" times={self.times} since_s={self.since_s:.0f}"


@dataclass(slots=True)
class _Trouble:
    since: float
    due_at: float
    wait_s: float = FIRST_S
    count: int = 1


class Repeats:
    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}
        self._last: _Trouble | None = None

    def tell(self, text: str, now: float) -> Again | None:
        """Count a trouble; None if it is not to be told of now.

        Another text is another trouble.
        """
        trouble = self._troubles.get(text)
        if trouble is None:
            if len(self._troubles) == MAX_TEXTS:
                del self._troubles[next(iter(self._troubles))]
            self._last = self._troubles[text] = _Trouble(now, now + FIRST_S)
            return Again(1, 0.0)
        self._last = trouble
        trouble.count += 1
        if now < trouble.due_at:
            return None
        trouble.wait_s = min(2 * trouble.wait_s, MOST_S)
        trouble.due_at = now + trouble.wait_s
        return Again(trouble.count, now - trouble.since)

    @property
    def is_again(self) -> bool:
        """True if the trouble that was told of last has come more than once."""
        return self._last is not None and self._last.count > 1

    def end(self) -> None:
        """All is over: should it come again, that is told at once."""
        self._troubles.clear()
        self._last = None

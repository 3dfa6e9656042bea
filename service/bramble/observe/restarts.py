"""How often a service has started anew, since when and why, and how long it waits before it does.

Pure: the times are passed in, in seconds of a clock that runs from the boot on; `at` is a time of
day for a person.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass, replace

SERVED_S = 30.0  # who lives for so long waits no more when it next ends
CALM_S = 600.0  # who lives for so long has recovered: what was before is told no more
DELAYS_S = (0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 15.0)  # by ends in a row before SERVED_S; the last stays
RESULTS = {  # systemd.exec(5), SERVICE_RESULT
    "oom-kill": "the system ended it, as memory was full",
    "watchdog": "it hung, and systemd ended it",
    "timeout": "it did not start or stop in the time that it has",
    "start-limit-hit": "it was started too often",
}


@dataclass(frozen=True, slots=True)
class Restarts:
    """Of one service, since it last ran in peace."""

    count: int = 0  # starts after an end that nobody had asked for
    in_row: int = 0  # of these, without a life of SERVED_S between
    since: float = 0.0  # the first of them
    at: str = ""
    reason: str = ""  # of the last end
    began: float = -1.0  # of the present life; below 0: never yet

    def begin(self, now: float, at: str, reason: str) -> Restarts:
        """Count a start. The life before it ended without being told to, for that reason."""
        if self.began < 0:
            return replace(self, began=now)
        lived_s = now - self.began
        is_new = not self.count or lived_s > CALM_S
        in_row = 1 if lived_s > SERVED_S else self.in_row + 1
        if is_new:
            return Restarts(1, in_row, now, at, reason, now)
        return replace(self, count=self.count + 1, in_row=in_row, reason=reason, began=now)

    @property
    def delay_s(self) -> float:
        """How long to wait before the work begins."""
        return DELAYS_S[min(self.in_row, len(DELAYS_S)) - 1] if self.in_row else 0.0

    def words(self, now: float) -> str:
        """Say how often, since when and why; nothing once it has lived in peace for long."""
        if not self.count or now - self.began > CALM_S:
            return ""
        times = "once, at" if self.count == 1 else f"{self.count} times since"
        return f"restarted {times} {self.at}; the last time because {self.reason}"


def reason_of(result: str) -> str:
    """Say why a process ended, from systemd's SERVICE_RESULT, EXIT_CODE and EXIT_STATUS."""
    kind, _, rest = result.strip().partition(" ")
    code, _, status = rest.partition(" ")
    if kind in RESULTS:
        return RESULTS[kind]
    if code in ("killed", "dumped"):
        return (
            f"it was ended by SIG{status}" if code == "killed" else f"it crashed with SIG{status}"
        )
    if code == "exited":
        return f"it ended with exit code {status}"
    return "it ended without a word"


def reason_of_code(code: int) -> str:
    """The same from what a parent process sees: below 0 the signal's number."""
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"

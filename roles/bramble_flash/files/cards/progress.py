"""A one-line progress bar on the terminal, or nothing where there is no terminal.

Ansible runs its tasks in a session of their own with captured output, so the bar goes to the
terminal of the nearest parent process that has one.
"""

from __future__ import annotations

import os
import subprocess
import time
from types import TracebackType
from typing import TextIO

REDRAW_S = 0.25
BAR_WIDTH = 24


class Progress:
    """Use as a context manager; `total_bytes` 0 means unknown."""

    def __init__(self, label: str, total_bytes: int) -> None:
        self.label = label
        self.total_bytes = total_bytes
        self.done_bytes = 0
        self._started = time.monotonic()
        self._drawn = 0.0
        self._terminal = open_terminal()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._terminal is not None:
            self._draw()
            self._terminal.write("\n")
            self._terminal.close()

    def at(self, done_bytes: int) -> None:
        self.done_bytes = done_bytes
        now = time.monotonic()
        if self._terminal is not None and now - self._drawn >= REDRAW_S:
            self._drawn = now
            self._draw()

    def _draw(self) -> None:
        elapsed_s = max(time.monotonic() - self._started, 1e-3)
        line = bar(self.label, self.done_bytes, self.total_bytes, elapsed_s)
        assert self._terminal is not None
        self._terminal.write(f"\r\033[K{line}")
        self._terminal.flush()


def bar(label: str, done_bytes: int, total_bytes: int, elapsed_s: float) -> str:
    speed = f"{done_bytes / elapsed_s / 1e6:.0f} MB/s"
    if not total_bytes:
        return f"{label}  {done_bytes / 1e6:.0f} MB  {speed}"
    part = min(done_bytes / total_bytes, 1.0)
    filled = round(part * BAR_WIDTH)
    left_s = elapsed_s * (1 - part) / part if part else 0
    drawn = "█" * filled + "·" * (BAR_WIDTH - filled)
    return f"{label}  {drawn} {part:4.0%}  {speed}  {left_s:.0f} s left"


def open_terminal() -> TextIO | None:
    for path in ("/dev/tty", parents_terminal()):
        if path is None:
            continue
        try:
            # O_NOCTTY: a session leader without a terminal must not adopt this one
            descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY)
        except OSError:
            continue
        return os.fdopen(descriptor, "w", encoding="utf-8")
    return None


def parents_terminal() -> str | None:
    """Return the terminal of the nearest ancestor that has one."""
    pid = os.getppid()
    while pid > 1:
        try:
            found = subprocess.run(
                ["ps", "-o", "ppid=,tty=", "-p", str(pid)], capture_output=True, text=True
            )
        except OSError:
            return None
        fields = found.stdout.split()
        if len(fields) != 2:
            return None
        if not fields[1].startswith("?"):
            return f"/dev/{fields[1]}"
        pid = int(fields[0])
    return None

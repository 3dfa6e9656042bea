"""Keeps a set of processes alive on this machine, as systemd does on a node, and ends them all.

It knows command lines, not what they run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bramble.errors import BadInput
from bramble.observe.repeats import Again, Repeats

RESTART_S = 0.2  # before the first restart; doubles while the process keeps dying young
RESTART_MAX_S = 10.0
YOUNG_S = 10.0
STOP_S = 5.0  # from SIGTERM to SIGKILL
READ_S = 1.0  # for the last words of one that has ended
BAD_INPUT = 2  # a command's exit code, see cli.py
PR_SET_PDEATHSIG = 1  # linux/prctl.h

Printer = Callable[[str, str], None]


@dataclass(slots=True)
class Child:
    name: str
    command: list[str]
    descriptors: tuple[int, ...] = ()  # of files that outlive it: each of its lives inherits them
    process: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None
    last_words: str = ""  # the last line that it printed
    started_at: float = 0.0
    due_at: float = 0.0
    delay_s: float = RESTART_S
    restarts: int = 0
    has_served: bool = False  # it has lived for longer than YOUNG_S
    repeats: Repeats = field(default_factory=Repeats)  # of one way to end


@dataclass(slots=True)
class Supervisor:
    """on_line  gets each line that a child prints; on_event each start and death"""

    on_line: Printer
    on_event: Printer
    children: list[Child] = field(default_factory=list)

    def start(self, name: str, command: list[str], descriptors: tuple[int, ...] = ()) -> None:
        """Start a process that has the open files `descriptors` by the same numbers."""
        child = Child(name, command, descriptors)
        self.children.append(child)
        self._spawn(child)

    def tend(self) -> None:
        """Restart what has died; to be called a few times a second.

        Raises BadInput with a child's own words if that is what ended it in its first seconds: it
        would do so again. One that has served waits for what it reads to be put right.
        """
        now = time.monotonic()
        for child in self.children:
            if child.process is None and now >= child.due_at:
                child.restarts += 1
                self._spawn(child)
            elif child.process is not None and child.process.poll() is not None:
                self._mourn(child, now)

    def stop(self) -> None:
        """End every child: SIGTERM, last started first, then SIGKILL to what is left."""
        alive = [child.process for child in reversed(self.children) if child.process is not None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + STOP_S
        for process in alive:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill_group(process)
                process.wait()
        self.children.clear()

    def _spawn(self, child: Child) -> None:
        child.started_at = time.monotonic()
        child.process = subprocess.Popen(
            child.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=child.descriptors,
            start_new_session=True,  # Ctrl-C is for us alone; we end the children in order
            preexec_fn=_die_with_parent,
        )
        child.last_words = ""
        child.reader = threading.Thread(
            target=self._pass_on, args=(child, child.process), daemon=True
        )
        child.reader.start()

    def _mourn(self, child: Child, now: float) -> None:
        assert child.process is not None and child.reader is not None
        _kill_group(child.process)  # a worker of its own must not outlive it
        child.reader.join(READ_S)
        is_young = now - child.started_at < YOUNG_S
        if not is_young:
            child.has_served = True
            child.repeats.end()
        child.delay_s = min(child.delay_s * 2, RESTART_MAX_S) if is_young else RESTART_S
        child.due_at = now + child.delay_s
        code, child.process = child.process.returncode, None
        if code == BAD_INPUT and not child.has_served:
            raise BadInput(child.last_words.partition(": ")[2])
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        words = f": {child.last_words}" if code > 0 and child.last_words else ""
        if (more := child.repeats.tell(how + words, now)) is not None:
            self.on_event(child.name, _told(how + words, more))

    def _pass_on(self, child: Child, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                child.last_words = line.rstrip()
                self.on_line(child.name, child.last_words)


def _told(how: str, again: Again) -> str:
    if again.times == 1:
        return f"{how}; restarting"
    return (
        f"{how}; restarting, every {RESTART_MAX_S:.0f} s at most: this was the {again.times}th "
        f"time in {again.since_s:.0f} s"
    )


def python_command(*arguments: str) -> list[str]:
    """The command line that runs a module with this interpreter."""
    return [sys.executable, "-m", *arguments]


def _die_with_parent() -> None:
    """In the child: have the kernel end it should its supervisor be killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _kill_group(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

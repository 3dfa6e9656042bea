"""Where a process of the bench runs: its cores and, where asked, its network namespace."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bramble.errors import Broken

STOP_S = 10.0
TAIL_LINES = 15  # of its log, where a process ended
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Place:
    """cores      empty = all; one core per stage is what the ratios speak of
    namespace  "" = this machine's own network
    """

    address: str
    cores: tuple[int, ...] = ()
    namespace: str = ""

    def command(self, *command: str | Path) -> list[str]:
        """The command line that runs `command` here."""
        enter = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        pin = ["taskset", "-c", ",".join(map(str, self.cores))] if self.cores else []
        return [*enter, *pin, *map(str, command)]

    def on(self, *cores: int) -> Place:
        """The same place, on these cores."""
        return Place(self.address, cores, self.namespace)


@dataclass(frozen=True, slots=True)
class Site:
    """The head's place and one per stage."""

    head: Place
    stages: tuple[Place, ...]


def loopback(num_stages: int) -> Site:
    """All on 127.0.0.1; stage i on core i, beginning again where the cores end."""
    stages = tuple(Place("127.0.0.1", (core(i),)) for i in range(num_stages))
    return Site(Place("127.0.0.1"), stages)


def core(index: int) -> int:
    """The core of stage `index`, of those that this process may use."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[index % len(cores)]


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses; only as sure as that nobody takes them meanwhile."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Process:
    """One process, its output in a log file, ended by `stop`."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._command, self._log = command, log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the bench, which ends them in order
                preexec_fn=die_with_parent,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, is_ready: Callable[[], bool], seconds: float) -> None:
        """Raises Broken with the log's last lines if it ends or takes longer."""
        deadline = time.monotonic() + seconds
        while not is_ready():
            code = self._process.poll()
            if code is not None or time.monotonic() > deadline:
                what = f"took over {seconds:.0f} s" if code is None else f"ended with {code}"
                lines = self._log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
                raise Broken("\n".join([f"{' '.join(self._command)} {what}:", *lines]))
            time.sleep(0.05)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def die_with_parent() -> None:
    """In the child: have the kernel end it should the bench be killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

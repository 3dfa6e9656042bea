"""What the checks read a machine through: files, programs, free space, the kernel's clock.

Reading never raises: a source that does not exist is None or MISSING, and the check says so.
"""

from __future__ import annotations

import ctypes
import glob
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

MISSING = 127  # the code of a program that is not installed, as in a shell
TIMED_OUT = 124  # as timeout(1) returns it
TIMEOUT_S = 30  # a journal of many days on a slow card
# Of our own making: the checks parse English, and sbin is not on every user's path.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
TIMEX_BYTES = 208  # sizeof(struct timex) on 64 bit; zeros ask and change nothing, adjtimex(2)


@dataclass(frozen=True, slots=True)
class Output:
    code: int
    text: str  # standard output
    complaint: str = ""  # standard error


@dataclass(frozen=True, slots=True)
class Space:
    total_bytes: int
    free_bytes: int  # for ordinary users
    device: int  # equal for two folders of the same filesystem


class Machine(Protocol):
    def read(self, path: str) -> str | None:
        """Return a file's text without surrounding space, or None."""

    def glob(self, pattern: str) -> list[str]:
        """Return the paths that match, sorted."""

    def run(self, *command: str) -> Output:
        """Run a program to its end."""

    def space(self, path: str) -> Space | None:
        """Return the room on the filesystem that holds `path`."""

    def clock_state(self) -> int | None:
        """Return what adjtimex(2) returns; 5, TIME_ERROR, means not synchronised."""


class ThisMachine:
    def read(self, path: str) -> str | None:
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def glob(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern))  # noqa: PTH207 - absolute patterns

    def run(self, *command: str) -> Output:
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=ENVIRONMENT,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            return Output(TIMED_OUT, "", f"no answer within {TIMEOUT_S} s")
        except OSError as problem:
            return Output(MISSING, "", f"{command[0]}: {problem.strerror}")
        out, complaint = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
        return Output(done.returncode, out, complaint.strip())

    def space(self, path: str) -> Space | None:
        try:
            found, device = os.statvfs(path), Path(path).stat().st_dev
        except OSError:
            return None
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, device)

    def clock_state(self) -> int | None:
        try:
            adjtimex = ctypes.CDLL(None).adjtimex
        except (OSError, AttributeError):
            return None
        state = int(adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)))
        return state if state >= 0 else None


def kernel_log(machine: Machine) -> list[str] | None:
    """Return the kernel's lines since boot; the journal keeps more than the kernel's own buffer."""
    for command in (("journalctl", "-k", "-b", "--no-pager", "-q", "-o", "cat"), ("dmesg",)):
        output = machine.run(*command)
        if output.code == 0 and output.text.strip():
            return output.text.splitlines()
    return None

"""Keeps a reply that is alone on one core, where several stages share a machine (`bramble run`).

Its steps go from stage to stage, so one core is enough; on many, each would have slept before its
turn and compute slower (measured in service/DESIGN.md). Of Linux only.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from bramble.wire.messages import Step

THREADS = Path("/proc/self/task")


class Core:
    def __init__(self, number: int | None) -> None:
        """number    of the core; None = the kernel decides"""
        self._all = os.sched_getaffinity(0)
        self._one = self._all if number is None else self._all & {number} or self._all
        self._is_kept = False
        self._sequence: int | None = None  # of the step before, if it decoded just one

    def follow(self, step: Step) -> None:
        """Have this process on one core from a sequence's second step in a row on, until another's
        comes between, or a prompt.
        """
        decodes_one = not step.kind.is_chunk and len(step.sequences) == 1
        sequence = int(step.sequences[0]) if decodes_one else None
        is_alone = sequence is not None and sequence == self._sequence
        self._sequence = sequence
        if is_alone != self._is_kept and self._one != self._all:
            self._is_kept = is_alone
            for thread in THREADS.iterdir():  # those that carry messages too
                with suppress(ProcessLookupError):  # it has ended
                    os.sched_setaffinity(int(thread.name), self._one if is_alone else self._all)

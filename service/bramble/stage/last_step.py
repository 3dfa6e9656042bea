"""Which step a stage computes, in a file that outlives it, so that its next life can say so.

Whoever kills a stage also stops steps that were never begun there. Without this the head would have
to suspect the requests of all that was on its way.
"""

from __future__ import annotations

import logging
import mmap
import os
from pathlib import Path

log = logging.getLogger(__name__)

BYTES = 8
NOTHING = 0  # else the epoch in the upper half and the step + 1 in the lower one
ANYTHING = (1 << 64) - 1
HALF = 1 << 32

IN_NONE = (-1, -1)


class LastStep:
    """Reads what the process before left, then notes what this one does, by single stores.

    path  best on a tmpfs, as it changes with every token; None = nothing is noted
    """

    def __init__(self, path: Path | None) -> None:
        self.died_in: tuple[int, int] | None = None  # as Hello has it
        self._word: memoryview | None = None
        if path is None:
            return
        try:
            self._word = self._open(path)
        except OSError as error:
            log.warning("event=not_kept what=last_step reason=%r", str(error))

    def begin(self, epoch: int, step: int) -> None:
        """A step is computed from now on."""
        is_told = 0 <= epoch < HALF and 0 <= step < HALF - 1
        self._note(epoch << 32 | step + 1 if is_told else ANYTHING)

    def begin_ahead(self) -> None:
        """Something is computed from now on that the head has not asked for yet."""
        self._note(ANYTHING)

    def end(self) -> None:
        """Nothing is computed. Not to be called where a failure ends the process."""
        self._note(NOTHING)

    def _note(self, value: int) -> None:
        if self._word is not None:
            self._word[0] = value

    def _open(self, path: Path) -> memoryview:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            left = os.read(descriptor, BYTES + 1)
            os.truncate(descriptor, BYTES)
            os.posix_fallocate(descriptor, 0, BYTES)  # on a full disk a store would end the process
            mapped = mmap.mmap(descriptor, BYTES)
        finally:
            os.close(descriptor)
        word = memoryview(mapped).cast("Q")
        if len(left) == BYTES:
            self.died_in = _told(word[0])
        # What was left stays until the first step, as this life may end before it has said hello
        return word


def _told(value: int) -> tuple[int, int] | None:
    if value == ANYTHING:
        return None
    return IN_NONE if value == NOTHING else (value // HALF, value % HALF - 1)

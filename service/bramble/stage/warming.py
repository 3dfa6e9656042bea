"""What top_p needs: the first time it compiles for seconds, so it is got ready beside all else."""

from __future__ import annotations

import gc
from collections.abc import Callable
from threading import Thread

from bramble.stage.sampler import compiled_nucleus


class Warming:
    def __init__(self) -> None:
        self._thread: Thread | None = None

    def begin(self) -> Thread:
        """Start, unless that was done; the thread ends when all is ready."""
        if self._thread is None:
            self._thread = started(_warm_up)
        return self._thread


def started(run: Callable[[], None]) -> Thread:
    thread = Thread(target=run, daemon=True)
    thread.start()
    return thread


def settle() -> None:
    """Have the collector pass over what lives now: with numba loaded, 45 ms at every beat."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _warm_up() -> None:
    compiled_nucleus()
    settle()

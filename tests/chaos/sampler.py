"""Writes down what every process holds, every few seconds, whatever happens to them meanwhile."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tests.chaos.cluster import Cluster, children
from tests.chaos.faults import num_open
from tests.chaos.history import Recorder

EVERY_S = 10.0


class Sampler:
    """A thread of its own, from `start` to `finish`."""

    def __init__(self, recorder: Recorder, cluster: Cluster) -> None:
        self._recorder, self._cluster = recorder, cluster
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        self._is_over.set()
        self._thread.join()

    def _live(self) -> None:
        while not self._is_over.wait(EVERY_S):
            self._recorder.write("load", load=round(os.getloadavg()[0], 2))
            for name, pid in _everybody(self._cluster):
                with suppress(OSError):  # it ended meanwhile
                    self._recorder.write("sampled", process=name, pid=pid, **holds(pid))


def _everybody(cluster: Cluster) -> Iterator[tuple[str, int]]:
    """Name and process id of each process of the service, and of the children that it has."""
    for name, pid in cluster.processes().items():
        yield name, pid
        for child in children(pid):
            yield f"{name}'s child", child


def holds(pid: int) -> dict[str, float]:
    """What a process has of memory and descriptors. Raises OSError if it is gone."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    return {"resident_mib": round(resident, 1), "descriptors": num_open(pid)}

"""Clients that keep asking, each by its own random numbers: most stream, and some leave early."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.asking import TIMEOUT_S, Asking
from tests.chaos.cases import Case
from tests.chaos.history import Recorder

PAUSE_S = 0.3  # at most, between two requests of one client
JOIN_S = 120.0  # until the last reply has ended


@dataclass(frozen=True, slots=True)
class Manners:
    """Shares of the requests: whole replies, those that are left, and of the others those with a
    key; and for how long a client waits for a byte."""

    whole: float = 0.1
    leavers: float = 0.1
    keyed: float = 0.5
    timeout_s: float = TIMEOUT_S


class Crowd:
    """`leave()` has everybody who streams close the connection at once."""

    def __init__(
        self,
        recorder: Recorder,
        address: str,
        cases: Sequence[Case],
        clients: int,
        seed: int,
        manners: Manners | None = None,
    ) -> None:
        self._recorder, self._address, self._cases = recorder, address, cases
        self._seed, self._manners = seed, manners or Manners()
        self._is_over = threading.Event()
        self._departures = 0
        self._threads = [
            threading.Thread(target=self._live, args=(f"c{i}", random.Random(f"{seed} {i}")))
            for i in range(clients)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def leave(self) -> None:
        self._departures += 1

    def finish(self) -> bool:
        """Let every reply end; False if some client still waits for one."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(JOIN_S)
        return not any(thread.is_alive() for thread in self._threads)

    def _live(self, client: str, rng: random.Random) -> None:
        manners, number = self._manners, 0
        while not self._is_over.is_set():
            number += 1
            case, manner = rng.choice(self._cases), rng.random()
            patience = rng.randrange(12) if manner > 1 - manners.leavers else None
            name = f"{client}-{number}"
            # A request with a key outlives the client that leaves, which is not what leavers show
            key = (
                f"{self._seed}-{name}" if patience is None and rng.random() < manners.keyed else ""
            )
            asking = Asking(self._recorder, self._address, client, name, case, key)
            asking.timeout_s = manners.timeout_s
            if manner < manners.whole:
                asking.whole()
            else:
                self._stream(asking, patience)
            self._is_over.wait(rng.uniform(0, PAUSE_S))

    def _stream(self, asking: Asking, patience: int | None) -> None:
        departures = self._departures

        def is_leaving(deltas: int) -> bool:
            return self._departures != departures or (patience is not None and deltas >= patience)

        asking.stream(is_leaving)

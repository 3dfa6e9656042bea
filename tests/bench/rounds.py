"""Takes the contenders in turn, several times over, so that a slow minute meets all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from bramble.errors import BrambleError

from tests.bench.figures import Samples, unit
from tests.bench.streams import Measured

DECODES = 3  # per round: the shortest measurements, and those with the tightest bounds

Tell = Callable[[str], None]


class Contender(Protocol):
    name: str

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def can(self, task: str) -> bool: ...

    def measure(self, task: str) -> Measured: ...


@dataclass(slots=True)
class Bench:
    """groups  contenders that are up at the same time; a group ends before the next one starts"""

    groups: Sequence[Sequence[Contender]]
    tasks: Sequence[str]
    tell: Tell
    samples: Samples = field(default_factory=Samples)
    failures: dict[str, str] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def run(self, rounds: int) -> None:
        for number in range(1, rounds + 1):
            for group in self.groups:
                self._run_group(group, f"round {number}/{rounds}", number % 2 == 0)

    def _run_group(self, group: Sequence[Contender], label: str, is_reversed: bool) -> None:
        contenders = list(reversed(group)) if is_reversed else list(group)
        try:
            for contender in contenders:
                self._guard(contender, contender.start)
            for task in self.tasks:
                for contender in contenders:
                    if contender.can(task):
                        self._guard(contender, partial(self._measure, contender, task, label))
        finally:
            for contender in contenders:
                contender.stop()

    def _guard(self, contender: Contender, act: Callable[[], None]) -> None:
        """One that fails is left out from there on and told at the end; the others go on."""
        if contender.name in self.failures:
            return
        try:
            act()
        except (BrambleError, OSError) as error:
            self.failures[contender.name] = str(error)
            self.tell(f"{contender.name} failed: {error}")

    def _measure(self, contender: Contender, task: str, label: str) -> None:
        found = contender.measure(task)
        for quantity, values in found.items():
            self.samples.add(contender.name, quantity, *values)
        shown = [f"{name} {values[-1]:.4g} {unit(name)}" for name, values in found.items()]
        minutes, seconds = divmod(int(time.monotonic() - self.started), 60)
        self.tell(f"{minutes:3}:{seconds:02}  {label}  {contender.name:24}  {', '.join(shown[:2])}")


def tasks(streams: Sequence[int], has_restart: bool) -> list[str]:
    """The measurements of a round, in their order."""
    return [
        *["bandwidth", *["decode"] * DECODES, "prefill", "prefill whole"],
        *[f"streams {count}" for count in streams],
        *["turn", "guesses", "memory"],
        *["restart"] * has_restart,
    ]

"""Contenders that are one Python process asked over a pipe: the bare loop, and plain reading."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bramble.errors import Broken

from tests.bench.processes import Place, die_with_parent
from tests.bench.streams import Measured


class Child:
    """A module of the bench that answers one JSON line per JSON line."""

    def __init__(self, name: str, command: list[str], place: Place, tasks: Iterable[str]) -> None:
        self.name = name
        self._command = place.command(sys.executable, "-m", *command)
        self._tasks = frozenset(tasks)
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            self._command,
            stdin=pipe,
            stdout=pipe,
            text=True,
            start_new_session=True,
            preexec_fn=die_with_parent,
        )
        self._read()

    def stop(self) -> None:
        if self._process is not None:
            self._process.communicate()  # its input ends, and so does it
            self._process = None

    def can(self, task: str) -> bool:
        return task in self._tasks

    def measure(self, task: str) -> Measured:
        assert self._process is not None and self._process.stdin is not None
        print(json.dumps(task), file=self._process.stdin, flush=True)
        found: Measured = self._read()
        return found

    def _read(self) -> Any:
        assert self._process is not None and self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Broken(f"{self.name} ended with {self._process.wait()}: {self._command}")
        return json.loads(line)


def ceiling(model: Path, place: Place, threads: int) -> Child:
    """onnxruntime alone over the ring's own files."""
    name = f"ceiling {threads} thread{'s' * (threads > 1)}"
    tasks = ["decode", "prefill", "prefill whole", *(f"streams {n}" for n in (1, 2, 4, 8))]
    return Child(name, ["tests.bench.loop", str(model), str(threads)], place, tasks)


def reader(place: Place, threads: int) -> Child:
    name = f"memory {threads} thread{'s' * (threads > 1)}"
    return Child(name, ["tests.bench.bandwidth", str(threads)], place, ["bandwidth"])

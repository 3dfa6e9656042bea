"""A machine whose files, programs and disks a test writes down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch

from bramble.doctor.machine import MISSING, Output, Space


@dataclass
class WrittenMachine:
    """`files` by path; `programs` by the beginning of their command line, longest first."""

    files: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, str | Output] = field(default_factory=dict)
    disks: Mapping[str, Space] = field(default_factory=dict)
    clock: int | None = None

    def read(self, path: str) -> str | None:
        text = self.files.get(path)
        return None if text is None else text.strip()

    def glob(self, pattern: str) -> list[str]:
        """Match files and the folders they lie in, level by level as glob(7) does."""
        paths = {"/".join(path.split("/")[:depth]) for path in self.files for depth in range(2, 12)}
        return sorted(path for path in paths if _matches(path, pattern))

    def run(self, *command: str) -> Output:
        line = " ".join(command)
        for beginning in sorted(self.programs, key=len, reverse=True):
            if line.startswith(beginning):
                answer = self.programs[beginning]
                return answer if isinstance(answer, Output) else Output(0, answer)
        return Output(MISSING, "", f"{command[0]}: No such file or directory")

    def space(self, path: str) -> Space | None:
        return self.disks.get(path)

    def clock_state(self) -> int | None:
        return self.clock


def _matches(path: str, pattern: str) -> bool:
    ours, theirs = path.split("/"), pattern.split("/")
    return len(ours) == len(theirs) and all(map(fnmatch, ours, theirs))

"""A run's history: what was asked, answered and broken, in its order; one JSON object per line.

run        how to repeat the run; the first line: format, seed, and the settings of the run
reference  what an undisturbed ring answers to a case; without a text where the case has no seed
asked      a client sends a request
accepted   the service has said that it will answer
delta      text arrives: with the identity that is on the chunk (reply), and where they are told
           the number of tokens and the event's number
resumed    a client comes back for the rest, behind the last event that it has
ended      the reply is complete; silence_s is the longest time without a word
refused    an error instead of a reply, or amid it; status 0 = no connection
broke      the stream ended without a finish
left       the client closes its connection, and is to be told nothing from then on
fault      something is broken on purpose: what, and on which processes
healed     it is no longer held broken
whole      all rings serve, and a request asked since the fault has been answered
lasting    not so within the limit
sampled    what a process holds, every ten seconds: resident MiB, and descriptors
load       of the machine then: processes that run or want to, over the last minute
rest       all clients are gone: the requests that the head still works on

Every line has `at`, seconds since the run began by one monotonic clock of one process: the order of
the lines is the order of their times.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
MEMBERS: dict[str, tuple[str, ...]] = {
    "run": ("format", "seed"),
    "reference": ("case", "body", "text", "finish", "prompt_tokens", "completion_tokens"),
    "asked": ("request", "client", "case", "max_tokens"),
    "accepted": ("request",),
    "delta": ("request", "reply", "text"),
    "resumed": ("request", "after"),
    "ended": ("request", "finish", "prompt_tokens", "completion_tokens", "silence_s"),
    "refused": ("request", "status", "error"),
    "broke": ("request", "why"),
    "left": ("request",),
    "fault": ("fault", "what", "targets"),
    "healed": ("fault",),
    "whole": ("fault", "answered_s", "whole_s"),
    "lasting": ("fault", "why"),
    "sampled": ("process", "pid", "resident_mib", "descriptors"),
    "load": ("load",),
    "rest": ("running", "queued"),
}
ENDS = frozenset({"ended", "refused", "broke", "left"})


@dataclass(frozen=True, slots=True)
class Line:
    number: int  # from 1, as editors count
    at: float
    kind: str
    members: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.members[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.members.get(name, default)

    @property
    def text(self) -> str:
        return to_json(self.at, self.kind, self.members)


class BadHistory(ValueError):
    """The file is no history: the recorder's fault, and nothing in it can be believed."""


class Recorder:
    """Writes lines as they happen; any thread may."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._lock = threading.Lock()
        self._began = time.monotonic()

    def write(self, kind: str, **members: Any) -> float:
        """Add a line of now; return its time."""
        missing = [name for name in MEMBERS[kind] if name not in members]
        assert not missing, f"{kind} without {missing}"
        with self._lock:
            at = self.now()
            if not self._file.closed:
                self._file.write(to_json(at, kind, members) + "\n")
        return at

    def now(self) -> float:
        return round(time.monotonic() - self._began, 4)

    def close(self) -> None:
        with self._lock:
            self._file.close()


def to_json(at: float, kind: str, members: dict[str, Any]) -> str:
    return json.dumps({"at": at, "kind": kind, **members}, ensure_ascii=False)


def read(texts: Iterable[str]) -> list[Line]:
    """Parse a history's lines. Raises BadHistory that names the line."""
    lines: list[Line] = []
    for number, text in enumerate(texts, 1):
        line = _parse(number, text)
        if (number == 1) != (line.kind == "run"):
            raise BadHistory(f"line {number}: the first line, and no other, is of the kind run")
        if number == 1 and line["format"] != FORMAT:
            raise BadHistory(f"line 1: format {line['format']}, need {FORMAT}")
        if lines and line.at < lines[-1].at:
            raise BadHistory(f"line {number}: {line.at} s is before line {number - 1}")
        lines.append(line)
    if not lines:
        raise BadHistory("it is empty")
    return lines


def _parse(number: int, text: str) -> Line:
    try:
        members = json.loads(text)
        at, kind = float(members.pop("at")), str(members.pop("kind"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadHistory(f"line {number}: not a JSON object with at and kind: {error}") from error
    if kind not in MEMBERS:
        raise BadHistory(f"line {number}: kind {kind!r}; known are {', '.join(MEMBERS)}")
    for name in MEMBERS[kind]:
        if name not in members:
            raise BadHistory(f"line {number}: {kind} without {name}")
    return Line(number, at, kind, members)

"""What an examination says: one sentence per check, how bad it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "note", "ok"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note", "ok")  # in the order they are shown
ABSENT = "not available here: "  # begins the sentence of a check whose source does not exist


@dataclass(frozen=True, slots=True)
class Finding:
    check: str  # what was looked at: one word, the same on every node
    level: Level
    sentence: str
    advice: str = ""  # what a person can do; empty where nothing is wrong

    @property
    def is_absent(self) -> bool:
        """Whether the check could not look, because this machine has no such source."""
        return self.sentence.startswith(ABSENT)


def ok(check: str, sentence: str) -> Finding:
    return Finding(check, "ok", sentence)


def note(check: str, sentence: str, advice: str = "") -> Finding:
    return Finding(check, "note", sentence, advice)


def warning(check: str, sentence: str, advice: str) -> Finding:
    return Finding(check, "warning", sentence, advice)


def error(check: str, sentence: str, advice: str) -> Finding:
    return Finding(check, "error", sentence, advice)


def absent(check: str, reason: str) -> Finding:
    return Finding(check, "note", ABSENT + reason)


def worst_first(findings: Iterable[Finding]) -> list[Finding]:
    """Sort problems to the front; equal levels keep the order of the examination."""
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))


def has_error(findings: Iterable[Finding]) -> bool:
    return any(finding.level == "error" for finding in findings)

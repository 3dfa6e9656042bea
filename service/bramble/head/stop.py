"""Finds stop strings in text that arrives in pieces, across their borders."""

from __future__ import annotations


class StopMatcher:
    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.met = ""  # the stop string that ended the text

    def push(self, text: str) -> tuple[str, bool]:
        """Return (text that is safe to show, whether a stop string was met).

        What might yet become a stop string is held back; what follows one is dropped.
        """
        self._held += text
        found = [(at, stop) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            at, self.met = min(found, key=lambda each: each[0])  # of two at one place, the first
            shown, self._held = self._held[:at], ""
            return shown, True
        cut = len(self._held) - self._longest_start()
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown, False

    def flush(self) -> str:
        """Return what was held back, once nothing follows."""
        shown, self._held = self._held, ""
        return shown

    def _longest_start(self) -> int:
        """Characters at the end of the text that are the start of a stop string."""
        longest = 0
        for stop in self._stops:
            for length in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:length]):
                    longest = length
                    break
        return longest

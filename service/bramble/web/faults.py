"""All that is wrong with one request, to be told in one answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from bramble.errors import BadInput

MAX_SHOWN = 16  # of the faults of one request

Value = TypeVar("Value")
Default = TypeVar("Default")


class Faults:
    def __init__(self) -> None:
        self._found: list[BadInput] = []

    @property
    def is_full(self) -> bool:
        """True if no further fault would be shown: whoever looks for them may stop."""
        return len(self._found) > MAX_SHOWN

    def keep(self, fault: BadInput) -> None:
        self._found.append(fault)

    def attempt(self, read: Callable[[], Value], default: Default) -> Value | Default:
        """Return what `read` does, or keep what it refuses and return `default`."""
        try:
            return read()
        except BadInput as fault:
            self.keep(fault)
            return default

    def check(self) -> None:
        """Raise BadInput with all that was kept; the first one's parameter and code stand in it."""
        if not self._found:
            return
        first, *others = self._found
        if not others:
            raise first
        shown = [f"({i}) {fault}" for i, fault in enumerate(self._found[:MAX_SHOWN], 1)]
        more = " and more" if self.is_full else ""
        message = f"{len(shown)} parameters{more} are wrong: {'; '.join(shown)}"
        raise BadInput(message, first.param, first.code)

"""Typed reads of one JSON object: each refusal names the field, what was got and what is allowed.

`null` counts as absent, as in OpenAI's API, and a float without a fraction as an integer. Knows no
parameter by name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from bramble.errors import BadInput
from bramble.web.faults import Faults

INT32_MAX = 2**31 - 1  # what a token id or a count may be on the wire
_SHOWN_CHARACTERS = 40  # of a refused value


@dataclass(frozen=True, slots=True)
class Fields:
    """The members of a JSON object; `path` leads to it from the body, e.g. `messages[0].`.

    With `faults` a read that refuses a value keeps the error there and returns None; without, it
    raises BadInput.
    """

    values: dict[str, Any]
    path: str = ""
    faults: Faults | None = None

    def get(self, name: str) -> Any:
        return self.values.get(name)

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = whole(self.get(name))
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            self._fail(self.refuse(name, f"an integer from {low} to {high}"))
            return None
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.get(name)
        if value is None:
            return None
        if not is_number(value) or not low <= value <= high:
            self._fail(self.refuse(name, f"a number from {low:g} to {high:g}"))
            return None
        return float(value)

    def flag(self, name: str) -> bool:
        return bool(self.choice(name))

    def choice(self, name: str) -> bool | None:
        """Return true, false, or None where it is left open."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            self._fail(self.refuse(name, "true or false"))
            return None
        return value

    def text(self, name: str) -> str | None:
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            self._fail(self.refuse(name, "a string"))
            return None
        return value

    def object(self, name: str) -> Fields | None:
        """Return the object below a name, whose reads keep or raise errors as these do."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self._fail(self.refuse(name, "an object"))
            return None
        return Fields(value, f"{self.path}{name}.", self.faults)

    def refuse(self, name: str, allowed: str) -> BadInput:
        """Make the error of a value that is not `allowed`; the caller raises it."""
        return refusal(self.path + name, self.get(name), allowed)

    def check_names(self, known: Collection[str]) -> None:
        """Refuse names that are not known, each with the nearest one that is; null is absent."""
        for name, value in self.values.items():
            if self.faults is not None and self.faults.is_full:
                return
            if value is not None and name not in known:
                self._fail(unknown(self.path + name, name, known))

    def _fail(self, fault: BadInput) -> None:
        if self.faults is None:
            raise fault
        self.faults.keep(fault)


def refusal(param: str, value: Any, allowed: str) -> BadInput:
    return BadInput(f"{param}: got {shown(value)}, need {allowed}", param=param)


def unknown(param: str, name: str, known: Collection[str]) -> BadInput:
    param = param if len(param) <= _SHOWN_CHARACTERS else param[:_SHOWN_CHARACTERS] + "…"
    near = difflib.get_close_matches(name[:_SHOWN_CHARACTERS], known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    message = f"{param}: unknown parameter; {hint}supported are {', '.join(sorted(known))}"
    return BadInput(message, param=param, code="unknown_parameter")


def check_distinct(names: list[str], path: str) -> None:
    """Refuse a name that stands twice; `path` has a place for the number of the second."""
    seen: set[str] = set()
    for i, name in enumerate(names):
        if name in seen:
            param = path.format(i)
            raise BadInput(f"{param}: {shown(name)} is there already; give each another", param)
        seen.add(name)


def whole(value: Any) -> Any:
    """Return a float without a fraction as an integer, all else as it is."""
    is_whole = type(value) is float and abs(value) < 2**63 and value.is_integer()
    return int(value) if is_whole else value


def is_number(value: Any) -> bool:
    """Tell whether a JSON value is a finite number that a float holds; true and false are not."""
    if type(value) is int:
        return abs(value) < 2**63  # beyond it, float() may overflow
    return type(value) is float and math.isfinite(value)


def shown(value: Any) -> str:
    """Name a refused value briefly: containers by their kind, as they may be deep or long."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 2**63:
        return "an integer of more than 64 bits"
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"

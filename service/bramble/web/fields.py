"""Typed reads of one JSON object: each refusal names the field, what was got and what is allowed.

`null` counts as absent, as in OpenAI's API. Knows no parameter by name.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from bramble.errors import BadInput

INT32_MAX = 2**31 - 1  # what a token id or a count may be on the wire
_SHOWN_CHARACTERS = 40  # of a refused value


@dataclass(frozen=True, slots=True)
class Fields:
    """The members of a JSON object; `path` leads to it from the body, e.g. `messages[0].`."""

    values: dict[str, Any]
    path: str = ""

    def get(self, name: str) -> Any:
        return self.values.get(name)

    def has(self, name: str) -> bool:
        return self.values.get(name) is not None

    def integer(self, name: str, low: int, high: int) -> int | None:
        value = self.get(name)
        if value is None:
            return None
        if type(value) is not int or not low <= value <= high:
            raise self.refuse(name, f"an integer from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float | None:
        value = self.get(name)
        if value is None:
            return None
        if not is_number(value) or not low <= value <= high:
            raise self.refuse(name, f"a number from {low:g} to {high:g}")
        return float(value)

    def flag(self, name: str) -> bool:
        value = self.get(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self.refuse(name, "true or false")
        return value

    def text(self, name: str) -> str | None:
        value = self.get(name)
        if value is not None and not isinstance(value, str):
            raise self.refuse(name, "a string")
        return value

    def refuse(self, name: str, allowed: str) -> BadInput:
        """Make the error of a value that is not `allowed`; the caller raises it."""
        return refusal(self.path + name, self.get(name), allowed)

    def check_names(self, known: Collection[str]) -> None:
        """Raise BadInput for the first name that is not known, with the nearest one that is."""
        for name in self.values:
            if name not in known:
                raise unknown(self.path + name, name, known)


def refusal(param: str, value: Any, allowed: str) -> BadInput:
    return BadInput(f"{param}: got {shown(value)}, need {allowed}", param=param)


def unknown(param: str, name: str, known: Collection[str]) -> BadInput:
    param = param if len(param) <= _SHOWN_CHARACTERS else param[:_SHOWN_CHARACTERS] + "…"
    near = difflib.get_close_matches(name[:_SHOWN_CHARACTERS], known, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    message = f"{param}: unknown parameter; {hint}supported are {', '.join(sorted(known))}"
    return BadInput(message, param=param, code="unknown_parameter")


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

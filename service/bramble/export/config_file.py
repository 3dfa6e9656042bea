"""A Hugging Face config.json, read with types checked; it remembers which keys were read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeVar

from bramble.errors import BadInput

Kind = TypeVar("Kind", int, float, bool, str)
MOST = 2**31 - 1  # ONNX graphs and the KV cache count in int32
LARGEST = 3.4028234e38  # of a float32
NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "a text"}
_REFUSED: Any = object()


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """config.json's keys. Raises BadInput that names the key, what was got and what is allowed.

    file    its name, or that of another file whose keys are read in the same way
    prefix  stands before the keys of an object that lies inside of it
    read    the keys that somebody asked for
    """

    document: dict[str, Any]
    prefix: str = ""
    read: set[str] = field(default_factory=set, compare=False, repr=False)
    file: str = "config.json"

    def value(
        self, key: str, kind: type[Kind], default: Any = _REFUSED, null: Any = _REFUSED
    ) -> Any:
        """The value of `key`; `default` where it is absent, `null` where it is null, if given."""
        self.read.add(key)
        if key not in self.document and default is not _REFUSED:
            return default
        found = self.document.get(key)
        if found is None and key in self.document and null is not _REFUSED:
            return null
        if kind is float and type(found) is int and abs(found) <= LARGEST:
            found = float(found)
        if type(found) is not kind or (type(found) is float and not abs(found) <= LARGEST):
            raise self.wrong(key, NAMES[kind])
        return found

    def size(self, key: str, default: Any = _REFUSED, null: Any = _REFUSED) -> int:
        """A count of at least one."""
        found = self.value(key, int, default, null)
        if not 1 <= found <= MOST:
            raise self.wrong(key, f"1 to {MOST}")
        return int(found)

    def positive(self, key: str, default: Any = _REFUSED, null: Any = _REFUSED) -> float:
        """A number above zero that a float32 can tell from zero."""
        found = float(self.value(key, float, default, null))
        if not (found > 0 and math.isfinite(found) and found > 1e-38):
            raise self.wrong(key, "a number above 0")
        return found

    def wrong(self, key: str, allowed: str) -> BadInput:
        """The error for a value that is not allowed."""
        found = shown(self.document.get(key)) if key in self.document else "missing"
        return BadInput(f"{self.file}: {self.prefix}{key} is {found}, need {allowed}")

    def token_ids(self, key: str) -> tuple[int, ...]:
        """None, one id or a list of ids."""
        found = self.document.get(key)
        ids = [] if found is None else found if isinstance(found, list) else [found]
        if not all(type(item) is int for item in ids):
            raise BadInput(f"config.json: {key} is {found!r}, need token ids")
        return tuple(ids)


def plain(name: str) -> str:
    """A key as a message shows it: whatever is in it, the message stays one line."""
    return name if name and name.isprintable() else repr(name)


def shown(value: Any) -> str:
    """A value as a message shows it: words as JSON has them, and not all of a long one."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."

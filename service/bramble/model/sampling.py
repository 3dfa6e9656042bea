"""A model's sampling defaults: their names, their ranges, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bramble.errors import BadInput

INT32_MAX = (1 << 31) - 1
# What the sampler computes; a client's parameters have the same limits
RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_k": (0, INT32_MAX),  # 0 = off
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 10.0),  # logits are divided by it: those of 1e-40 are infinite
}
_INTEGERS = ("top_k",)
_ABOVE_ZERO = ("top_p",)


def check_defaults(defaults: Mapping[str, Any], where: str) -> None:
    """Raise BadInput for a default that no request could be sampled with; `where` is its file."""
    for name, value in defaults.items():
        if name == "do_sample":
            if type(value) is not bool:
                raise BadInput(f"{where}: do_sample is {value!r}, need true or false")
        elif name in RANGES:
            _check_range(name, value, where)
        else:
            known = ", ".join(("do_sample", *RANGES))
            raise BadInput(f"{where}: {name} is no sampling default; known are {known}")


def effective(defaults: Mapping[str, Any]) -> dict[str, float]:
    """The defaults as numbers: a model that is not to be sampled has temperature 0."""
    numbers = {name: defaults[name] for name in RANGES if defaults.get(name) is not None}
    return numbers | ({"temperature": 0.0} if defaults.get("do_sample") is False else {})


def _check_range(name: str, value: Any, where: str) -> None:
    least, most = RANGES[name]
    is_number = type(value) is int if name in _INTEGERS else type(value) in (int, float)
    is_above = name not in _ABOVE_ZERO or (is_number and value > 0)
    if not is_number or not is_above or not least <= value <= most:  # NaN is in no range
        kind = "an integer" if name in _INTEGERS else "a number"
        span = (
            f"above {least:g} up to {most:g}" if name in _ABOVE_ZERO else f"{least:g} to {most:g}"
        )
        raise BadInput(
            f"{where}: {name} is {value!r}, need {kind} {span}; correct it there, or remove the key"
        )

"""How the replies of one HTTP request are shown. The head keeps it for who comes back by an id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class About:
    kind: str  # chat or text
    name: str  # the reply's, without the prefix that its kind has
    num_choices: int
    choices_per_prompt: int
    is_streamed: bool
    includes_usage: bool
    echoes: tuple[str, ...]  # per choice: the prompt's text that the reply repeats, or ""

    def pack(self) -> dict[str, Any]:
        return asdict(self)


def unpack(document: Mapping[str, Any]) -> About:
    """Return what `pack` made: it was kept by a head of our own release."""
    return About(**{**document, "echoes": tuple(document["echoes"])})

"""How the replies of one HTTP request are shown. The head keeps it for who comes back by an id."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class About:
    kind: str  # the dialect's name
    name: str  # the reply's, without the prefix that its dialect has
    num_choices: int
    choices_per_prompt: int
    is_streamed: bool
    is_chat: bool = True  # the reply to messages; else the continuation of a text, which has no
    # thoughts and calls
    has_tools: bool = False
    has_inline_thoughts: bool = False  # a setting: thoughts stand in the text, in <think>
    shown: dict[str, Any] = field(default_factory=dict)  # what else the dialect's writer needs

    def pack(self) -> dict[str, Any]:
        return asdict(self)


def unpack(document: Mapping[str, Any]) -> About:
    """Return what `pack` made: it was kept by a head of our own release."""
    return About(**document)

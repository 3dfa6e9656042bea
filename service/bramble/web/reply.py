"""One answer of the API: the same identity on its chunks or on the whole, in a given shape."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bramble.web.about import About
from bramble.web.identity import PREFIXES
from bramble.web.shapes import ChatShape, Choice, Shape, TextShape
from bramble.web.tally import Tally, figures_of
from bramble.wire.messages import Accepted, Delta, Done, TokenLogprob


@dataclass(frozen=True, slots=True)
class Reply:
    id: str
    created: int  # unix seconds
    model: str
    fingerprint: str | None  # changes with the model and the release
    shape: Shape

    def chunk(self, choices: list[Choice], **members: Any) -> dict[str, Any]:
        return self._envelope(self.shape.chunk_object, choices) | members

    def last_chunk(self, index: int, done: Done) -> dict[str, Any]:
        choice = self.shape.finish(index, str(done.finish))
        return self.chunk([choice], bramble=figures_of(done))

    def whole(self, parts: Iterable[Part], tally: Tally) -> dict[str, Any]:
        choices = [
            self.shape.whole(index, "".join(part.texts), part.logprobs, part.finish)
            for index, part in enumerate(parts)
        ]
        envelope = self._envelope(self.shape.whole_object, choices)
        return envelope | {"usage": tally.usage(), "bramble": tally.figures()}

    def _envelope(self, kind: str, choices: list[Choice]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }


@dataclass(slots=True)
class Part:
    """One choice of a whole reply while it grows."""

    texts: list[str] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    finish: str = ""

    def add(self, delta: Delta) -> None:
        self.texts.append(delta.text)
        self.logprobs.extend(delta.logprobs)


def open_reply(about: About, accepted: Accepted) -> Reply:
    """Return the same for all who read it, whenever they do."""
    accepted_s = accepted.accepted_at_us // 1_000_000
    return Reply(
        id=PREFIXES[about.kind] + about.name,
        created=accepted_s or int(time.time()),
        model=accepted.model,
        fingerprint=accepted.mark or None,
        shape=ChatShape() if about.kind == "chat" else TextShape(about.echoes),
    )

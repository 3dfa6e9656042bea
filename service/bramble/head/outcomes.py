"""How many requests ended how, and how many messages were damaged."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from bramble.errors import BadFrame

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcomes:
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    bad_frames: int = 0
    impostors: int = 0  # messages of a node that another node's key came with
    _known: set[str] = field(default_factory=set)

    def impostor(self, node: str, what: str) -> None:
        """Count a message that says it is of a node whose key its sender does not hold."""
        self.impostors += 1
        if node not in self._known:
            self._known.add(node)
            log.error("event=impostor node=%s message=%s", node, what)

    def bad_frame(self, error: BadFrame) -> None:
        """Count a message that was dropped because it is damaged."""
        self.bad_frames += 1
        log.warning("event=bad_frame reason=%r", str(error))

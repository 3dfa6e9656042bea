"""How many requests ended how, and how many messages were damaged."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from bramble.errors import BadFrame

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcomes:
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    bad_frames: int = 0

    def bad_frame(self, error: BadFrame) -> None:
        """Count a message that was dropped because it is damaged."""
        self.bad_frames += 1
        log.warning("event=bad_frame reason=%r", str(error))

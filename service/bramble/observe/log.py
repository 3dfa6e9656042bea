"""Log lines for the journal: one line each, key=value, no time (journald adds it)."""

from __future__ import annotations

import logging
import sys


def configure(level: str = "INFO") -> None:
    """Send this process's log to standard output. Prompts and replies are never logged."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("level=%(levelname)s %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)

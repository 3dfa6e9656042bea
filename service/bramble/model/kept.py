"""Small documents that a process keeps on disk for its next start, with their own sha256.

What is damaged, or is no such document, counts as absent: whoever kept it can make it anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from bramble.model.disk import write_whole

log = logging.getLogger(__name__)


def read(path: Path) -> dict[str, Any]:
    """Return what `write` kept; nothing, said in the log, where it is damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        log.warning("event=not_read file=%s reason=%r now='made anew'", path, str(error))
        return {}
    try:
        document = json.loads(text)
        kept: dict[str, Any] = document["kept"]
        is_whole = document["sha256"] == _sha256(kept) and isinstance(kept, dict)
    except (ValueError, TypeError, KeyError, RecursionError):
        is_whole = False
    if not is_whole:
        log.warning("event=not_read file=%s reason=damaged now='made anew'", path)
        return {}
    return kept


def write(path: Path, kept: dict[str, Any]) -> bool:
    """Keep a document of plain values; False, said in the log, where the disk does not take it."""
    text = json.dumps({"sha256": _sha256(kept), "kept": kept}, indent=1)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text + "\n")
    except OSError as error:
        log.warning("event=not_kept file=%s reason=%r", path, str(error))
        return False
    return True


def _sha256(kept: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

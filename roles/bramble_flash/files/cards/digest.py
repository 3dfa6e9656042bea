"""sha256 of files too large for memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cards.progress import Progress

CHUNK_BYTES = 4 << 20


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file, Progress(f"checking {path.name}", path.stat().st_size) as shown:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            shown.at(file.tell())
    return digest.hexdigest()

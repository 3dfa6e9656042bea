"""Room on a disk, and files that a pulled plug leaves whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from bramble.errors import Broken

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raises Broken if the disk of `folder`, which need not exist yet, has less than needed."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise Broken(
            f"{folder}: need {size(needed_bytes)} of disk, {size(free_bytes)} are free; "
            "make room or choose another disk"
        )


def size(count: int) -> str:
    """Bytes for people: 812 B, 3.4 MB, 5.1 GB (decimal, as disks are sold)."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def settle(partial: Path, path: Path) -> None:
    """Give a complete file its name: the contents are on the disk before the name is."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

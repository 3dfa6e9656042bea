"""Room on a disk, and files that a pulled plug leaves whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import threading
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


def write_whole(path: Path, text: str) -> None:
    """Write a file that a pulled plug leaves as it was before, or as it is to be.

    Raises OSError; what was there before is then still there.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}-{threading.get_ident()}")
    try:
        partial.write_text(text, encoding="utf-8")
        settle(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def settle(partial: Path, path: Path) -> None:
    """Give a complete file its name: the contents are on the disk before the name is."""
    sync(partial)
    partial.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Bring a file's contents to the disk, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Which files of a model were hashed and found good, and have not been touched since.

Hashing 1 GB takes longer than all else in a warm start. A file whose inode, size, time of writing
or time of change differs is hashed again; what rots under the same times, the golden check finds.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from bramble.model.manifest import Manifest, verify_file

log = logging.getLogger(__name__)

FILE_NAME = "verified"
SETTLED_S = 2.0  # a file changed twice within one tick of its clock keeps its times

Mark = list[int | str]


def verify(
    folder: Path,
    manifest: Manifest,
    part_names: Iterable[str],
    place: Path | None,
    alive: Callable[[], None],
    is_suspect: bool = False,
) -> None:
    """Hash the files of these parts that are not known to be good. Raises BadShard.

    place       a folder where this is remembered; None = every file is hashed
    alive       called before each file
    is_suspect  none is known to be good
    """
    known = _read(place)
    found = dict(known)
    for name in manifest.part_files(part_names):
        path, expected = folder / name, manifest.files[name]
        mark = _mark(path, expected.sha256)
        if mark is not None and known.get(str(path)) == mark and not is_suspect:
            continue
        alive()
        found.pop(str(path), None)
        verify_file(folder, name, expected)
        if mark is not None:
            found[str(path)] = mark
    if place is not None and found != known:
        _write(place, found)


def _mark(path: Path, sha256: str) -> Mark | None:
    """What changes with a file; None for one that cannot be told yet from its next change."""
    try:
        stat = path.stat()
    except OSError:
        return None  # told by who hashes it
    if time.time() - max(stat.st_ctime, stat.st_mtime) < SETTLED_S:
        return None
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, sha256]


def _read(place: Path | None) -> dict[str, Mark]:
    if place is None:
        return {}
    try:
        document = json.loads((place / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _write(place: Path, found: dict[str, Mark]) -> None:
    """Two stages of a node may write at once: the later list wins, the other hashes again."""
    kept = {path: mark for path, mark in found.items() if Path(path).exists()}
    partial = place / f"{FILE_NAME}-{os.getpid()}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(kept), encoding="utf-8")
        partial.replace(place / FILE_NAME)
    except OSError as error:
        log.warning("event=not_kept what=verified reason=%r", str(error))

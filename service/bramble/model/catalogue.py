"""Which files of the models in a folder there are, by sha256: what the manifests there list.

It knows folders and files, not HTTP, and never leaves a model's folder.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from bramble.errors import BadInput
from bramble.model import manifest as manifests
from bramble.model.manifest import FILE_NAME, File

log = logging.getLogger(__name__)

Stamp = tuple[int, int, int]  # inode, mtime in ns, bytes: another one, another manifest


@dataclass(frozen=True, slots=True)
class _Model:
    """A folder's files as its manifest lists them, the manifest among them."""

    stamp: Stamp
    files: dict[str, tuple[str, int]]  # sha256 → relative path, bytes


class Catalogue:
    """Safe to use from several threads; a new, changed or removed folder shows at once."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._known: dict[Path, _Model] = {}

    def find(self, sha256: str) -> Path | None:
        """Return a file that a manifest lists under `sha256` and that has the listed size."""
        return next(iter(self.find_all(sha256)), None)

    def find_all(self, sha256: str) -> list[Path]:
        """Return every such file; that of a folder that is still being filled may be missing."""
        found = []
        for folder, model in self._read().items():
            if (entry := model.files.get(sha256)) is not None:
                name, size = entry
                if (path := _inside(folder, name, size)) is not None:
                    found.append(path)
        return found

    def _read(self) -> dict[Path, _Model]:
        with self._lock:
            known = {}
            for folder in _folders(self._models):
                stamp = _stamp(folder)
                before = self._known.get(folder)
                if stamp is None:
                    continue
                if before is None or before.stamp != stamp:
                    before = _Model(stamp, _list(folder, stamp[2]))
                known[folder] = before
            self._known = known
            return known


def _folders(models: Path) -> list[Path]:
    try:
        return sorted(path for path in models.iterdir() if path.is_dir() and path.name[0] != ".")
    except OSError:
        return []


def _stamp(folder: Path) -> Stamp | None:
    try:
        found = (folder / FILE_NAME).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _list(folder: Path, size: int) -> dict[str, tuple[str, int]]:
    """List what the manifest lists; nothing, said once in the log, where it cannot be read."""
    try:
        files: dict[str, File] = manifests.read(folder).files
        own = manifests.sha256(folder)
    except (BadInput, OSError) as error:
        log.warning("event=unreadable_manifest reason=%r", str(error))
        return {}
    return {own: (FILE_NAME, size)} | {file.sha256: (n, file.bytes) for n, file in files.items()}


def _inside(folder: Path, name: str, size: int) -> Path | None:
    """Return the file if it lies in its folder, links followed, and is `size` bytes long."""
    try:
        path = (folder / name).resolve(strict=True)
        is_right = path.is_file() and path.stat().st_size == size
    except OSError:
        return None
    return path if is_right and path.is_relative_to(folder.resolve()) else None

"""Which files were hashed and found good, and have not been touched since.

A file whose inode, size, time of writing or time of change differs is hashed again. What rots under
the same times is found in three ways: what serves is hashed at the first load after each boot
(until then the card may have given other bytes), then every minute by `scrub.py`, and what is only
packed from is hashed before that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from bramble.errors import BadShard
from bramble.model import kept
from bramble.model.manifest import File, Manifest, verify_file
from bramble.stage.memory import evict

FILE_NAME = "verified"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SETTLED_S = 2.0  # a file changed twice within one tick of its clock keeps its times

Mark = list[int | str]


class Proofs:
    """What is known of files; safe to use from several threads."""

    def __init__(self, place: Path | None) -> None:
        """place  a folder where this is remembered; None = it is forgotten with this object"""
        self._place = place
        self._lock = threading.Lock()
        self._known = {} if place is None else kept.read(place / FILE_NAME)  # path → mark
        self._has_changed = False
        self._forgotten: set[str] = set()
        self._bad: dict[str, tuple[Mark, str]] = {}  # marks of files that were refused, and why
        self._boot = _boot_id()

    def prove(
        self,
        folder: Path,
        name: str,
        expected: File,
        this_boot: bool,
        is_suspect: bool = False,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Hash a file unless it is known to be good. Raises BadShard.

        this_boot   what was found before the last boot does not count
        is_suspect  nothing that was found before counts
        alive       called before the file is hashed
        """
        path = folder / name
        mark = stamp(path)
        if not is_suspect and mark is not None:
            self._refuse_known(path, [*mark, expected.sha256])
            if self._knows(path, [*mark, expected.sha256], this_boot):
                return
        alive()
        self.forget(path)
        try:
            _verify(folder, name, expected)
        except BadShard as error:
            is_read = error.__cause__ is None  # else it may be readable the next time
            if mark is not None and is_settled(mark) and is_read:
                with self._lock:
                    self._bad[str(path)] = ([*mark, expected.sha256], str(error))
            raise
        if mark is not None and mark == stamp(path):
            self.note(path, mark, expected.sha256)

    def has(self, path: Path, expected: File) -> bool:
        """True if the file was found good, whenever that was, and is as it was."""
        mark = stamp(path)
        return mark is not None and self._knows(path, [*mark, expected.sha256], this_boot=False)

    def is_right(self, path: Path, expected: File) -> bool:
        """True if the file is what it should be; hashed if that is not known."""
        try:
            self.prove(path.parent, path.name, expected, this_boot=False)
        except BadShard:
            return False
        return True

    def note(self, path: Path, mark: Mark, sha256: str) -> None:
        """Remember that a file of that mark was found good."""
        with self._lock:
            self._bad.pop(str(path), None)
            if is_settled(mark):
                self._known[str(path)] = [*mark, sha256, self._boot]
                self._forgotten.discard(str(path))
                self._has_changed = True

    def forget(self, path: Path) -> None:
        """A file was found to be wrong: it is hashed again before it is used."""
        with self._lock:
            if self._known.pop(str(path), None) is not None:
                self._forgotten.add(str(path))
                self._has_changed = True

    def save(self) -> None:
        """Two stages of a node may write at once: the later list wins, the other hashes again."""
        with self._lock:
            if self._place is None or not self._has_changed:
                return
            others = kept.read(self._place / FILE_NAME)
            merged = {
                path: mark
                for path, mark in (others | self._known).items()
                if path not in self._forgotten and Path(path).exists()
            }
            self._has_changed = not kept.write(self._place / FILE_NAME, merged)

    def _knows(self, path: Path, mark: Mark, this_boot: bool) -> bool:
        with self._lock:
            known = self._known.get(str(path))
        if not isinstance(known, list) or known[: len(mark)] != mark:
            return False
        return not this_boot or (self._boot != "" and known[len(mark) :] == [self._boot])

    def _refuse_known(self, path: Path, mark: Mark) -> None:
        """A file that was refused and is as it was is refused again without reading it."""
        with self._lock:
            bad = self._bad.get(str(path))
        if bad is not None and bad[0] == mark:
            raise BadShard(bad[1])


def verify(
    folder: Path,
    manifest: Manifest,
    part_names: Iterable[str],
    proofs: Proofs,
    alive: Callable[[], None],
    is_suspect: bool = False,
) -> None:
    """Hash the files of these parts that are not known to be good. Raises BadShard.

    alive       called before each file that is hashed
    is_suspect  none is known to be good
    """
    try:
        for name in manifest.part_files(part_names):
            proofs.prove(folder, name, manifest.files[name], False, is_suspect, alive)
    finally:
        proofs.save()  # what was found good need not be hashed again when the rest is put right


def _verify(folder: Path, name: str, expected: File) -> None:
    """Hash a file, once more from the disk if memory has it wrong. Raises BadShard."""
    try:
        verify_file(folder, name, expected)
    except BadShard:
        evict(folder / name)
        verify_file(folder, name, expected)


def stamp(path: Path) -> Mark | None:
    """What changes with a file; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None  # told by who hashes it
    return [stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def is_settled(mark: Mark) -> bool:
    """False for a file that cannot be told yet from its next change."""
    changed_s = max(int(mark[3]), int(mark[4])) / 1e9
    return time.time() - changed_s >= SETTLED_S


def _boot_id() -> str:
    """Another one after each boot; empty where the system does not tell."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""

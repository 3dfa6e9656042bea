"""A member's slices of a model on this node's disk: found, or made by a process of the exporter.

Several members may share a disk, each with slices of its own; nobody removes those in use. What is
found is believed only as far as its sums are proven, by whoever loads it.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from bramble.errors import BadInput, Broken
from bramble.model import slices as documents
from bramble.model.disk import check_space, settle
from bramble.model.manifest import Manifest
from bramble.model.share import Share
from bramble.model.slices import Slices, cut_bytes, cut_parts, key
from bramble.stage.packed import SPARE_BYTES
from bramble.stage.proof import Proofs

log = logging.getLogger(__name__)

FOLDER = "slices"
LOCK = ".lock"  # beside a folder of slices: held by each process that uses them
PARTIAL = ".partial"  # ending of a folder that is being written
PACKED = "packed"  # within a folder of slices: what onnxruntime makes of them
MAX_KEPT = 6  # folders of slices, unless more are in use: a former plan comes back with its board
PACKED_GROWTH = 3.5  # of slices with what is packed of them, over the slices alone
WAIT_S = 0.2  # between words to the watchdog
EXIT_BAD_INPUT = 2  # as export/slices.py says


class SliceFolders:
    def __init__(
        self, packed: Path | None, folder: Path, manifest: Manifest, proofs: Proofs
    ) -> None:
        """Keep slices of the model in `folder` below `packed`; None = for this process alone."""
        self._temporary = None
        if packed is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="bramble-slices-")
            packed = Path(self._temporary.name)
        self._root = packed / FOLDER
        self._folder, self._manifest, self._proofs = folder, manifest, proofs
        self._used: list[int] = []  # descriptors of locks
        self._release = weakref.finalize(self, _close, self._used)

    def find(
        self, share: Share, alive: Callable[[], None], is_suspect: bool = False
    ) -> tuple[Path, Slices]:
        """Return the folder of a share's slices, made now if need be, and what it has.

        is_suspect  make them anew whatever is there

        Raises BadInput for a share that cannot be cut, BadShard where the model is damaged, Broken
        without room on the disk.
        """
        documents.check(self._manifest, share)
        place = _place(self._root, self._manifest, share)
        self._root.mkdir(parents=True, exist_ok=True)
        self._use(_beside(place, LOCK))
        with _alone(self._root / "making", alive):
            found = None if is_suspect else documents.read(place)
            if found is None:
                self._make(place, share, alive)
                found = documents.read(place)
        if found is None:
            raise Broken(f"{place} was made, and cannot be read; look at this node's disk")
        return place, found

    def close(self) -> None:
        """Give up the slices: others may make room of them, and temporary ones go."""
        self._release()
        if self._temporary is not None:
            self._temporary.cleanup()

    def _use(self, path: Path) -> None:
        """Say, for as long as this lives, that a folder of slices is in use."""
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._used.append(lock)
        fcntl.flock(lock, fcntl.LOCK_SH)  # who removes what nobody uses holds it for moments
        os.utime(path)

    def _make(self, place: Path, share: Share, alive: Callable[[], None]) -> None:
        for file in self._manifest.part_files(cut_parts(share)):
            # Else its damage would be cut, and believed
            expected = self._manifest.files[file]
            self._proofs.prove(self._folder, file, expected, this_boot=True, alive=alive)
        slice_bytes = cut_bytes(self._manifest, share)
        self._make_room(place, int(PACKED_GROWTH * slice_bytes) + SPARE_BYTES)
        check_space(self._root, slice_bytes + SPARE_BYTES)
        started = time.monotonic()
        for stale in (*self._root.glob(f"*{PARTIAL}"), place):  # nobody else makes any now
            shutil.rmtree(stale, ignore_errors=True)
        # A name of this process: a cutter may outlive a stage that was killed, and writes on
        partial = _beside(place, f".{os.getpid()}{PARTIAL}")
        try:
            _cut(self._folder, share, partial, alive)
            settle(partial, place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        seconds = time.monotonic() - started
        log.info("event=sliced share=%r s=%.1f", place.name, seconds)

    def _make_room(self, place: Path, needed_bytes: int) -> None:
        """Remove slices that no process uses, the longest unused first: until there is room, and
        not too many are left.
        """
        locks = [path for path in self._root.glob(f"*{LOCK}") if _of(path).exists()]
        locks.sort(key=lambda path: path.stat().st_mtime)
        for index, lock in enumerate(locks):
            has_room = shutil.disk_usage(self._root).free >= needed_bytes
            if has_room and index >= len(locks) - MAX_KEPT:
                return
            if _of(lock) == place:
                continue
            with suppress(BlockingIOError), lock.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                log.info("event=slices_removed share=%r", _of(lock).name)
                shutil.rmtree(_of(lock), ignore_errors=True)


def are_made(packed: Path | None, manifest: Manifest, share: Share) -> bool:
    """True if a share's slices are there, sound or not; else it takes minutes to cut them."""
    if packed is None:
        return False
    return (_place(packed / FOLDER, manifest, share) / documents.FILE_NAME).exists()


def _place(root: Path, manifest: Manifest, share: Share) -> Path:
    return root / f"{manifest.name}-{key(manifest, share)}"


def _of(lock: Path) -> Path:
    return lock.with_name(lock.name.removesuffix(LOCK))


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _beside(place: Path, ending: str) -> Path:
    return place.with_name(place.name + ending)  # a model's name may have dots


@contextmanager
def _alone(path: Path, alive: Callable[[], None]) -> Iterator[None]:
    """One process at a time makes slices; the lock goes with the process that holds it."""
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                alive()
                time.sleep(WAIT_S)
        yield


def _cut(folder: Path, share: Share, dest: Path, alive: Callable[[], None]) -> None:
    """Have a process write the slices: `onnx` is not for a stage's memory."""
    command = [sys.executable, "-m", "bramble.export.slices", str(folder), str(dest)]
    command.append(json.dumps(asdict(share)))
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as child:
        try:
            errors = _wait(child, alive)
        except BaseException:  # a new assignment, or the end of this process
            child.kill()
            raise
    if child.returncode == 0:
        return
    reason = (errors.strip().splitlines() or [f"it ended with {child.returncode}"])[-1]
    if child.returncode == EXIT_BAD_INPUT:
        raise BadInput(reason)
    raise Broken(f"cannot cut this member's part of the model: {reason}")


def _wait(child: subprocess.Popen[bytes], alive: Callable[[], None]) -> str:
    while True:
        alive()
        try:
            _, errors = child.communicate(timeout=WAIT_S)
        except subprocess.TimeoutExpired:
            continue
        return errors.decode(errors="replace")

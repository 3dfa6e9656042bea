"""A model's parts with their weights as this machine's kernels want them, made once and mapped.

Without it onnxruntime packs every weight into memory of its own at each start, beside the mapped
original: twice the memory, and twice the time. Results are the same bits (tests/stage/test_packed).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime

from bramble.errors import BadShard
from bramble.model.manifest import Manifest
from bramble.stage.cpu import CPUINFO
from bramble.stage.session import Threads, load

log = logging.getLogger(__name__)

GROWTH = 2.5  # of a packed part over its original: that is in there too, unread
SPARE_BYTES = 256 << 20  # left free on the disk
LOCK = "lock"
KEY = re.compile(r"[0-9a-f]{12}")  # of a folder of packed parts: nothing else is removed
UNPACKED = ("embed", "attention")  # nothing is packed in a table of rows, nor without weights


class PackedParts:
    def __init__(
        self,
        root: Path,
        folder: Path,
        manifest: Manifest,
        threads: Threads,
        is_suspect: bool = False,
    ) -> None:
        """Keep packed parts below `root`, for the model in `folder`; `is_suspect`: make each anew.

        What another onnxruntime or another processor packed is thrown away, as it is of no use;
        what is of other models, where the disk has no room beside it.
        """
        self._root = root
        self._folder, self._manifest, self._threads = folder, manifest, threads
        self._is_suspect = is_suspect
        self._place = root / manifest.name / machine_key()
        _remove(other for other in self._place.parent.glob("*") if other != self._place)

    def path(self, name: str, graph: str) -> Path:
        """Return the ONNX file to load for a part's `graph`: packed, now if it is new here.

        Where the disk has no room, or takes nothing, it is the original; the log says so.
        """
        part = self._manifest.part(name)
        original = self._folder / graph
        stem = Path(graph).stem  # layer-003.before, layer-003.attention.kv8
        if set(UNPACKED).intersection(stem.split(".")):
            return original
        shas = "".join(self._manifest.files[file].sha256 for file in (graph, *part.data))
        packed = self._place / f"{stem}-{hashlib.sha256(shas.encode()).hexdigest()[:12]}.onnx"
        if packed.exists() and not self._is_suspect:
            return packed
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            self._make_room(int(GROWTH * self._manifest.part_bytes(name)) + SPARE_BYTES)
            with self._locked():
                # Another process may have made it while this one waited
                if self._is_suspect or not packed.exists():
                    self._pack(original, packed)
        except (OSError, BadShard) as error:  # BadShard: onnxruntime could not write, or not read
            log.warning("event=not_packed part=%s reason=%r memory=twice", name, str(error))
            return original
        return packed

    def _make_room(self, needed_bytes: int) -> None:
        """Throw away other models' parts if need be. Raises OSError if that does not do."""
        if shutil.disk_usage(self._place).free < needed_bytes:
            others = (
                place for place in self._root.glob("*/*") if place.parent != self._place.parent
            )
            _remove(others)
        free = shutil.disk_usage(self._place).free
        if free < needed_bytes:
            raise OSError(f"{free >> 20} MiB are free, {needed_bytes >> 20} are needed")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time write here; the lock goes with the process that holds it."""
        with (self._place / LOCK).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _pack(self, original: Path, packed: Path) -> None:
        """Write beside, then rename: the ONNX file last, as its presence says that all is there."""
        for stale in self._place.glob(f"{packed.name.rsplit('-', 1)[0]}-*"):
            stale.unlink(missing_ok=True)  # of this part in an earlier export
        partial = self._place / "partial"  # of one who was killed, if there is one
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            load(original, self._threads, save_to=partial / packed.name)
            for path in sorted(partial.iterdir(), key=lambda path: path.suffix):  # .data first
                with path.open("rb") as file:
                    os.fsync(file.fileno())  # a pulled plug must not leave names without contents
                path.rename(self._place / path.name)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _remove(places: Iterable[Path]) -> None:
    for place in places:
        if KEY.fullmatch(place.name):
            shutil.rmtree(place, ignore_errors=True)


def machine_key() -> str:
    """Name what packed weights depend on: onnxruntime's version and the processor."""
    wanted = ("model name", "CPU part", "CPU implementer", "flags", "Features")
    lines = CPUINFO.read_text(encoding="utf-8").splitlines()
    cpu = sorted({line for line in lines if line.split("\t")[0].strip() in wanted})
    text = "\n".join([onnxruntime.__version__, platform.machine(), *cpu])
    return hashlib.sha256(text.encode()).hexdigest()[:12]

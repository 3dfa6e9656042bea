"""A model's parts with their weights as this machine's kernels want them, made once and mapped.

Without it onnxruntime packs every weight into memory of its own at each start, beside the mapped
original: twice the memory, and twice the time. Results are the same bits (tests/stage/test_packed).

Beside each packed part lies NAME.sha256, in the form of `sha256sum`: its presence says that the
part is complete, and it is used only as long as its files are those.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime

from bramble.errors import BadShard
from bramble.model.disk import settle, write_whole
from bramble.model.manifest import File, Manifest, sha256_of
from bramble.stage.cpu import CPUINFO
from bramble.stage.proof import Proofs
from bramble.stage.session import Threads, load

log = logging.getLogger(__name__)

GROWTH = 2.5  # of a packed part over its original: that is in there too, unread
SPARE_BYTES = 256 << 20  # left free on the disk
LOCK = "lock"
SUMS = ".sha256"
SUM = re.compile(r"(?P<sha256>[0-9a-f]{64})  (?P<name>[^/]+)")
KEY = re.compile(r"[0-9a-f]{12}")  # of a folder of packed parts: nothing else is removed
WEIGHTLESS = "attention"  # of a layer's graphs the one without weights
UNPACKED = ("embed", WEIGHTLESS)  # nothing is packed in a table of rows, nor without weights


class PackedParts:
    def __init__(
        self,
        root: Path,
        folder: Path,
        manifest: Manifest,
        threads: Threads,
        proofs: Proofs,
        is_suspect: bool = False,
    ) -> None:
        """Keep packed parts below `root`, for the model in `folder`; `is_suspect`: make each anew.

        What another onnxruntime or another processor packed is thrown away, as it is of no use;
        what is of other models, where the disk has no room beside it.
        """
        self._root = root
        self._folder, self._manifest, self._threads = folder, manifest, threads
        self._proofs, self._is_suspect = proofs, is_suspect
        self._place = root / manifest.name / machine_key()
        _remove(other for other in self._place.parent.glob("*") if other != self._place)

    def find(self, name: str, graph: str) -> Path | None:
        """Return the packed ONNX file of a part's `graph`, and the original where none is packed.

        None where it is to be made, by `make`.
        """
        if _kinds(graph).intersection(UNPACKED):
            return self._folder / graph
        packed = self._packed(name, graph)
        return packed if _sums_file(packed).exists() and not self._is_suspect else None

    def check(self, packed: Path) -> None:
        """Hash a packed part unless that was done since the last boot. Raises BadShard."""
        for path, file in sums(packed).items():
            self._proofs.prove(path.parent, path.name, file, this_boot=True)

    def make(self, name: str, graph: str, damaged: Path | None = None) -> Path:
        """Pack a part's `graph` and return the ONNX file to load.

        Where the disk has no room, or takes nothing, it is the original; the log says so.

        damaged  its copy that was refused, if one was; another process may have put it right
        Raises BadShard where the original is damaged.
        """
        original, packed = self._folder / graph, self._packed(name, graph)
        for file, expected in originals(self._manifest, name, graph).items():
            # Else its damage would be packed, and believed
            self._proofs.prove(self._folder, file, expected, True, self._is_suspect)
        try:
            self._place.mkdir(parents=True, exist_ok=True)
            with self._locked():
                if self._is_suspect or not self._is_good(packed, damaged):
                    self.discard(packed)
                    self._make_room(int(GROWTH * self._manifest.part_bytes(name)) + SPARE_BYTES)
                    self._pack(original, packed)
        except (OSError, BadShard) as error:  # BadShard: onnxruntime could not write, or not read
            log.warning("event=not_packed part=%s reason=%r memory=twice", name, str(error))
            return original
        return packed

    def _packed(self, name: str, graph: str) -> Path:
        files = originals(self._manifest, name, graph)
        shas = "".join(file.sha256 for file in files.values())
        stem = Path(graph).stem  # layer-003.before
        return self._place / f"{stem}-{hashlib.sha256(shas.encode()).hexdigest()[:12]}.onnx"

    def _is_good(self, packed: Path, damaged: Path | None) -> bool:
        """True if another process has made it while this one waited."""
        if not _sums_file(packed).exists():
            return False
        if damaged is None:
            return True
        try:
            self.check(packed)
        except BadShard:
            return False
        return True

    def discard(self, packed: Path) -> None:
        """Remove this part, of any export: the sums first, as without them nothing is believed."""
        stem = packed.name.rsplit("-", 1)[0]
        for ending in (SUMS, ".onnx", ".data"):
            for stale in self._place.glob(f"{stem}-*{ending}"):
                stale.unlink(missing_ok=True)

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
        """Write beside, then rename: the sums last, as their presence says that all is there."""
        partial = self._place / "partial"  # of one who was killed, if there is one
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            load(original, self._threads, save_to=partial / packed.name)
            made = sorted(partial.iterdir())
            lines = [f"{sha256_of(path)}  {path.name}\n" for path in made]
            for path in made:
                settle(path, self._place / path.name)
            write_whole(_sums_file(packed), "".join(lines))
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def originals(manifest: Manifest, name: str, graph: str) -> dict[str, File]:
    """The files that a part's `graph` is loaded from, or packed from."""
    data = () if WEIGHTLESS in _kinds(graph) else manifest.part(name).data
    return {file: manifest.files[file] for file in (graph, *data)}


def _kinds(graph: str) -> set[str]:
    return set(Path(graph).stem.split("."))  # layer-003.attention.kv8


def sums(packed: Path) -> dict[Path, File]:
    """Return what a packed part's files are to be. Raises BadShard if that cannot be read."""
    path, found = _sums_file(packed), {}
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            match = SUM.fullmatch(line)
            if match is None or not match["name"].startswith(packed.stem):
                raise BadShard(f"{path}: {line[:80]!r} is no line of sha256sum")
            file = packed.with_name(match["name"])
            found[file] = File(match["sha256"], file.stat().st_size)
    except (OSError, UnicodeDecodeError) as error:
        raise BadShard(f"{path}: cannot be read: {error}") from error
    if packed not in found:
        raise BadShard(f"{path} does not list {packed.name}")
    return found


def _sums_file(packed: Path) -> Path:
    return packed.with_suffix(SUMS)


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

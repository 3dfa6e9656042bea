"""Loads a shard's parts as onnxruntime sessions, several at once; packed where copies are there.

Every file is hashed before it is loaded, if that was not done since the last boot.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from onnxruntime import InferenceSession as Session

from bramble.errors import BadShard
from bramble.model.manifest import File, Manifest
from bramble.stage.packed import PackedParts, originals, sums
from bramble.stage.proof import Proofs
from bramble.stage.session import Threads, load

T = TypeVar("T")

ALIVE_S = 0.5
NUM_LOADERS = 4  # parts loaded at once: each costs a core, and memory for what it packs


@dataclass(frozen=True, slots=True)
class Loaded:
    """Sessions by part, in the order of the part's graphs, and the files that they read."""

    sessions: dict[str, list[Session]]
    files: dict[Path, File]


def load_parts(
    folder: Path,
    manifest: Manifest,
    graphs: dict[str, tuple[str, ...]],
    threads: Threads,
    proofs: Proofs,
    copies: PackedParts | None,
    alive: Callable[[], None],
) -> Loaded:
    """Load parts by their ONNX files, several at once; copies that are new, or were damaged, are
    packed in turn. Raises BadShard for a damaged original.
    """
    loader = _Loader(folder, manifest, threads, proofs, copies)
    owners = {graph: name for name, files in graphs.items() for graph in files}
    sessions: dict[str, Session] = {}
    with ThreadPoolExecutor(NUM_LOADERS) as loaders:
        loading = {
            graph: loaders.submit(loader.load, name, graph) for graph, name in owners.items()
        }
        for graph, future in loading.items():
            if (session := _result(future, alive)) is not None:
                sessions[graph] = session
        for graph, name in owners.items():
            if graph not in sessions:
                sessions[graph] = _result(loaders.submit(loader.make, name, graph), alive)
    proofs.save()
    return Loaded(
        {name: [sessions[graph] for graph in files] for name, files in graphs.items()},
        loader.files,
    )


def _result(future: Future[T], alive: Callable[[], None]) -> T:
    """Wait for it; a file of gigabytes is hashed, or packed, for longer than a head waits."""
    while not wait([future], ALIVE_S).done:
        alive()
    alive()
    return future.result()


class _Loader:
    """Safe to use from several threads for different graphs."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        threads: Threads,
        proofs: Proofs,
        copies: PackedParts | None,
    ) -> None:
        self.files: dict[Path, File] = {}
        self._folder, self._manifest, self._threads = folder, manifest, threads
        self._proofs, self._copies = proofs, copies
        self._damaged: dict[str, Path] = {}

    def load(self, name: str, graph: str) -> Session | None:
        """None where its packed copy has to be made first."""
        original = self._folder / graph
        path = original if self._copies is None else self._copies.find(name, graph)
        if path is None:
            return None
        if path == original:
            return self._load_original(name, graph)
        assert self._copies is not None
        try:
            self._copies.check(path)
            return self._load_copy(path)
        except BadShard:
            self._damaged[graph] = path
            return None

    def make(self, name: str, graph: str) -> Session:
        """Pack a graph and load it: the original, should the copy not do."""
        assert self._copies is not None
        path = self._copies.make(name, graph, self._damaged.get(graph))
        if path != self._folder / graph:
            try:
                return self._load_copy(path)
            except BadShard:
                self._copies.discard(path)  # it is made again at the next start
        return self._load_original(name, graph)

    def _load_copy(self, path: Path) -> Session:
        session = load(path, self._threads)
        self.files.update(sums(path))
        return session

    def _load_original(self, name: str, graph: str) -> Session:
        files = originals(self._manifest, name, graph)
        for file, expected in files.items():
            self._proofs.prove(self._folder, file, expected, this_boot=True)
        session = load(self._folder / graph, self._threads)
        self.files.update({self._folder / file: expected for file, expected in files.items()})
        return session

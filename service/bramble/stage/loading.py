"""Loads a shard's parts as onnxruntime sessions, several at once; packed where copies are there."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from onnxruntime import InferenceSession as Session

from bramble.errors import BadShard
from bramble.stage.packed import PackedParts
from bramble.stage.session import Threads, load

NUM_LOADERS = 4  # parts loaded at once: each costs a core, and memory for what it packs


def load_parts(
    folder: Path,
    graphs: dict[str, tuple[str, ...]],
    threads: Threads,
    copies: PackedParts | None,
    alive: Callable[[], None],
) -> dict[str, list[Session]]:
    """Load parts by their ONNX files, several at once; those that are new are packed in turn."""
    paths = {}
    for name, files in graphs.items():
        for graph in files:
            alive()  # packing takes seconds
            paths[graph] = folder / graph if copies is None else copies.path(name, graph)

    def load_graph(graph: str) -> Session:
        path, original = paths[graph], folder / graph
        try:
            return load(path, threads)
        except BadShard:
            if path == original:
                raise
            path.unlink(missing_ok=True)  # damaged: it is packed again at the next start
            return load(original, threads)

    sessions = {}
    with ThreadPoolExecutor(NUM_LOADERS) as loaders:
        for graph, session in zip(paths, loaders.map(load_graph, paths), strict=True):
            alive()
            sessions[graph] = session
    return {name: [sessions[graph] for graph in files] for name, files in graphs.items()}

"""Bits per weight that a processor's kernels read: packed files of two sizes of one matrix.

usage: packed.py FOLDER     with MATRIX files of models.py; the same script runs on both processors
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from bramble.stage.session import Threads, load


def packed_bytes(graph: Path) -> int:
    """What onnxruntime adds to a matrix's own bytes as it packs it."""
    with tempfile.TemporaryDirectory(dir=graph.parent) as folder:
        load(graph, Threads(1), save_to=Path(folder) / graph.name)
        written = sum(path.stat().st_size for path in Path(folder).iterdir())
    return written - graph.stat().st_size


def main() -> None:
    folder = Path(sys.argv[1])
    found: dict[str, dict[int, int]] = {}
    for graph in sorted(folder.glob("*.onnx")):
        kind, rows = graph.stem.rsplit(".", 1)
        found.setdefault(kind, {})[int(rows)] = packed_bytes(graph)
    print(json.dumps({"packed": found}), flush=True)


main()

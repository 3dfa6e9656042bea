"""The sessions of a shard and their inputs and outputs, bound once per batch shape.

Between steps only numbers in bound arrays change, so Python does one call per part. It knows
nothing of sequences and sampling, and trusts its caller with every index.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession as Session
from onnxruntime import IOBinding as Binding
from onnxruntime import OrtValue

from bramble.errors import BadShard
from bramble.model.manifest import Manifest, layer_name, shard_parts
from bramble.model.rope import tables
from bramble.stage.arena import Arena
from bramble.stage.packed import PackedParts
from bramble.stage.session import Threads, load, run
from bramble.wire.messages import Assign

NUM_LOADERS = 4  # parts loaded at once: each costs a core, and memory for what it packs
MAX_BATCHES = 64  # batch shapes kept bound: about 50 KB each for 16 layers

Floats = NDArray[np.float32]
Key = tuple[int, int, int]  # first row, n, t


@dataclass(frozen=True, slots=True)
class Batch:
    """The bound arrays of one (first row, n, t); every array aliases what onnxruntime reads."""

    token_ids: NDArray[np.int32]  # (n, t)
    hidden: Floats  # (n, t, hidden_size), the first layer's input
    output: Floats  # (n, t, hidden_size), the last layer's output
    lengths: NDArray[np.int32]  # (n,) total length minus one
    total: NDArray[np.int32]  # (1,) the longest total length
    runs: tuple[tuple[str, Session, Binding], ...]


@dataclass(frozen=True, slots=True)
class Head:
    """lm_head bound for n rows."""

    hidden: Floats  # (n, hidden_size)
    logits: Floats  # (n, vocab_size)
    binding: Binding


class Shard:
    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        assign: Assign,
        arena: Arena,
        threads: Threads,
        packed: Path | None,
        alive: Callable[[], None],
    ) -> None:
        """Load the assigned parts; files are checked by the caller. Raises BadShard."""
        names = shard_parts(assign.start, assign.stop, assign.has_embed, assign.has_lm_head)
        graphs = {name: manifest.graph(name, assign.kv_cache) for name in names}
        copies = (
            PackedParts(packed, folder, manifest, threads, assign.is_suspect) if packed else None
        )
        parts = _load_all(folder, graphs, threads, copies, alive)
        self._arena = arena
        self._shape = manifest.shape
        self._embed = parts.get("embed")
        layers = [layer_name(index) for index in range(assign.start, assign.stop)]
        self._layers = [(name, parts[name]) for name in layers]
        self._lm_head = parts.get("lm_head")
        cos, sin = tables(manifest.rope, assign.max_length)
        self._rope = {"cos": _value(cos), "sin": _value(sin)}
        self._buffers = (np.zeros(0, np.float32), np.zeros(0, np.float32))
        self._logits = np.zeros((0, manifest.shape.vocab_size), np.float32)
        self._batches: OrderedDict[Key, Batch] = OrderedDict()
        self._heads: OrderedDict[int, Head] = OrderedDict()

    def forward(
        self,
        source: NDArray[Any],
        first_row: int,
        positions: NDArray[np.int32],
        t: int,
        alive: Callable[[], None] | None = None,
    ) -> Floats:
        """Run new tokens of rows [first_row, first_row + n) and extend the KV cache.

        source     int32 (n, t) token ids, or float32 (n * t, hidden_size) behind the embedding
        positions  int32 (n,)  index of each row's first new token, 0-based
        alive      called between layers
        returns    float32 (n, t, hidden_size); reused by the next call
        """
        batch = self._batch((first_row, len(positions), t))
        if self._embed is None:
            batch.hidden[:] = source.reshape(batch.hidden.shape)
        else:
            batch.token_ids[:] = source
        lengths = [position + t - 1 for position in positions.tolist()]
        batch.lengths[:] = lengths
        batch.total[0] = max(lengths) + 1
        for name, part, binding in batch.runs:
            run(part, binding, name)
            if alive is not None:
                alive()
        return batch.output

    def logits(self, hidden: Floats) -> Floats:
        """float32 (n, hidden_size) → float32 (n, vocab_size), reused by the next call."""
        head = self._head(len(hidden))
        head.hidden[:] = hidden
        assert self._lm_head is not None
        run(self._lm_head, head.binding, "lm_head")
        return head.logits

    def _batch(self, key: Key) -> Batch:
        if key not in self._batches:
            self._reserve(key[1] * key[2] * self._shape.hidden_size)
            self._batches[key] = self._bind(key)
            if len(self._batches) > MAX_BATCHES:
                self._batches.popitem(last=False)
        self._batches.move_to_end(key)
        return self._batches[key]

    def _reserve(self, count: int) -> None:
        """Make room for `count` hidden values; what is bound to smaller buffers is bound anew."""
        if count > self._buffers[0].size:
            self._batches.clear()
            self._buffers = (np.zeros(count, np.float32), np.zeros(count, np.float32))

    def _bind(self, key: Key) -> Batch:
        first_row, n, t = key
        size = (n, t, self._shape.hidden_size)
        count = n * t * self._shape.hidden_size
        hidden = [buffer[:count].reshape(size) for buffer in self._buffers]
        token_ids = np.zeros((n, t), np.int32)
        lengths, total = np.zeros(n, np.int32), np.zeros(1, np.int32)
        shared = {"sequence_lengths": _value(lengths), "total_length": _value(total)} | self._rope
        ends = [_value(array) for array in hidden]
        runs = []
        if self._embed is not None:
            binding = _bind(self._embed, {"token_ids": _value(token_ids)}, {"hidden": ends[0]})
            runs.append(("embed", self._embed, binding))
        for i, (name, part) in enumerate(self._layers):
            keys = _value(self._arena.keys(i, first_row, n))
            values = _value(self._arena.values(i, first_row, n))
            inputs = shared | {"hidden": ends[i % 2], "past_key": keys, "past_value": values}
            outputs = {
                "hidden_out": ends[(i + 1) % 2],
                "present_key": keys,
                "present_value": values,
            }
            runs.append((name, part, _bind(part, inputs, outputs)))
        output = hidden[len(self._layers) % 2]
        return Batch(token_ids, hidden[0], output, lengths, total, tuple(runs))

    def _head(self, n: int) -> Head:
        if n not in self._heads:
            hidden = np.zeros((n, self._shape.hidden_size), np.float32)
            logits = self._room_for_logits(n)
            binding = _bind(self._lm_head, {"hidden": _value(hidden)}, {"logits": _value(logits)})
            self._heads[n] = Head(hidden, logits, binding)
            if len(self._heads) > MAX_BATCHES:
                self._heads.popitem(last=False)
        return self._heads[n]

    def _room_for_logits(self, n: int) -> Floats:
        """Rows of one buffer for all widths: at a vocabulary of 128k a row is half a megabyte."""
        if n > len(self._logits):
            self._heads.clear()
            self._logits = np.zeros((n, self._shape.vocab_size), np.float32)
        return self._logits[:n]


def _load_all(
    folder: Path,
    graphs: dict[str, str],
    threads: Threads,
    copies: PackedParts | None,
    alive: Callable[[], None],
) -> dict[str, Session]:
    """Load parts by their ONNX files, several at once; those that are new are packed in turn."""
    originals = {name: folder / graph for name, graph in graphs.items()}
    paths = dict(originals)
    if copies is not None:
        for name, graph in graphs.items():
            alive()  # packing takes seconds
            paths[name] = copies.path(name, graph)

    def part(name: str) -> Session:
        try:
            return load(paths[name], threads)
        except BadShard:
            if paths[name] == originals[name]:
                raise
            paths[name].unlink(missing_ok=True)  # damaged: it is packed again at the next start
            return load(originals[name], threads)

    parts = {}
    with ThreadPoolExecutor(NUM_LOADERS) as loaders:
        for name, session in zip(graphs, loaders.map(part, graphs), strict=True):
            alive()
            parts[name] = session
    return parts


def _value(array: NDArray[Any]) -> OrtValue:
    """An OrtValue over the array's own memory."""
    return OrtValue.ortvalue_from_numpy(array)


def _bind(part: Session, inputs: dict[str, OrtValue], outputs: dict[str, OrtValue]) -> Binding:
    binding = part.io_binding()
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, value)
    for name, value in outputs.items():
        binding.bind_ortvalue_output(name, value)
    return binding

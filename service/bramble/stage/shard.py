"""The sessions of a shard and their inputs and outputs, bound once per batch shape.

Between steps only numbers in bound arrays change, so Python does three calls per layer: what comes
before its attention, attention, and what is behind it; of a group's member the last one is two
halves with sums behind them (member.py). It knows nothing of sequences and sampling, and trusts its
caller with every index.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession as Session
from onnxruntime import IOBinding as Binding

from bramble.model.manifest import Manifest, layer_name
from bramble.model.rope import tables
from bramble.stage.arena import Arena
from bramble.stage.bound import Run, Values, bind, value
from bramble.stage.loading import Loaded, load_parts
from bramble.stage.member import NUM_SUMS, Group, bind_halves, load_member
from bramble.stage.packed import PackedParts
from bramble.stage.proof import Proofs
from bramble.stage.session import Threads, run
from bramble.wire.messages import Assign

MAX_BATCHES = 64  # batch shapes kept bound: about 50 KB each for 16 layers

Floats = NDArray[np.float32]
Key = tuple[int, int, int]  # first row, n, t


@dataclass(frozen=True, slots=True)
class BoundLayer:
    before: Run
    attention: Run
    behind: Callable[[], None]  # Run, or a member's Halves


@dataclass(frozen=True, slots=True)
class Batch:
    """The bound arrays of one (first row, n, t); every array aliases what onnxruntime reads."""

    token_ids: NDArray[np.int32]  # (n, t)
    hidden: Floats  # (n, t, hidden_size), the first layer's input
    output: Floats  # (n, t, hidden_size), the last layer's output
    projections: tuple[Floats, ...]  # queries, keys, values: each (n, t, heads * head_dim)
    attended: Floats  # (n, t, heads * head_dim), what attention made of them
    lengths: NDArray[np.int32]  # (n,) total length minus one
    total: NDArray[np.int32]  # (1,) the longest total length
    embed: Run | None
    layers: tuple[BoundLayer, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """lm_head bound for n rows."""

    hidden: Floats  # (n, hidden_size)
    logits: Floats  # (n, rows of the lm_head)
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
        proofs: Proofs,
        alive: Callable[[], None],
        group: Group | None = None,
    ) -> None:
        """Load the assigned parts; `files` are then those that it reads. Raises BadShard.

        group  with whom the sums are taken; None if the share is whole
        """
        shape, share = manifest.shape, assign.share
        self._group = group
        if group is None:
            loaded = _load_whole(folder, manifest, assign, threads, packed, proofs, alive)
        else:
            member = load_member(folder, manifest, assign, threads, packed, proofs, alive)
            loaded, self._slices = member.parts, member.folders
        parts, self.files = loaded.sessions, loaded.files
        self._arena = arena
        self._hidden_size = shape.hidden_size
        self._embed = parts["embed"][0] if share.has_embed else None
        layers = [layer_name(index) for index in share.layers]
        self._layers = [(name, *parts[name]) for name in layers]
        self._lm_head = parts["lm_head"][0] if share.has_lm_head else None
        # Attention over a float16 cache is wholly in half precision
        kind = np.float16 if assign.kv_cache == "float16" else np.float32
        cos, sin = (table.astype(kind) for table in tables(manifest.rope, assign.max_length))
        self._rope = {"cos": value(cos), "sin": value(sin)}
        queries, keys = (stop - start for start, stop in (share.heads, share.kv_heads))
        heads = tuple(count * shape.head_dim for count in (queries, keys, keys, queries))
        # Numbers of a token: hidden twice, queries, keys, values, attended, a member's sums
        self._widths = (shape.hidden_size,) * 2 + heads
        self._widths += (shape.hidden_size,) * (NUM_SUMS if group else 0)
        self._buffers = self._make_buffers(0)
        self._vocab_size = share.vocab[1] - share.vocab[0]
        self._logits = np.zeros((0, self._vocab_size), np.float32)
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
        batch = self._enter((first_row, len(positions), t), source)
        lengths = [position + t - 1 for position in positions.tolist()]
        batch.lengths[:] = lengths
        batch.total[0] = max(lengths) + 1
        for layer in batch.layers:
            layer.before()
            layer.attention()
            layer.behind()
            if alive is not None:
                alive()
        return batch.output

    def forward_singly(
        self,
        source: NDArray[Any],
        row: int,
        position: int,
        t: int,
        alive: Callable[[], None] | None = None,
    ) -> Floats:
        """As `forward` for t new tokens of one row, with the bits that t steps of one token give.

        onnxruntime rounds attention of several new tokens differently from that of one, and nothing
        else in a layer (service/DESIGN.md); so attention alone is run for each token in turn.
        """
        batch = self._enter((row, 1, t), source)
        single = self._batch((row, 1, 1))
        for layer, attention in zip(batch.layers, single.layers, strict=True):
            layer.before()
            for i in range(t):
                for one, several in zip(single.projections, batch.projections, strict=True):
                    one[0, 0] = several[0, i]
                single.lengths[0], single.total[0] = position + i, position + i + 1
                attention.attention()
                batch.attended[0, i] = single.attended[0, 0]
            layer.behind()
            if alive is not None:
                alive()
        return batch.output

    def _enter(self, key: Key, source: NDArray[Any]) -> Batch:
        """Bring new tokens, or their hidden state, to the first layer."""
        batch = self._batch(key)
        if batch.embed is None:
            batch.hidden[:] = source.reshape(batch.hidden.shape)
        else:
            batch.token_ids[:] = source
            batch.embed()
        return batch

    def logits(self, hidden: Floats) -> Floats:
        """float32 (n, hidden_size) → float32 (n, rows of the lm_head that it has), reused by the
        next call."""
        head = self._head(len(hidden))
        head.hidden[:] = hidden
        assert self._lm_head is not None
        run(self._lm_head, head.binding, "lm_head")
        return head.logits

    def _batch(self, key: Key) -> Batch:
        if key not in self._batches:
            self._reserve(key[1] * key[2])
            self._batches[key] = self._bind(key)
            if len(self._batches) > MAX_BATCHES:
                self._batches.popitem(last=False)
        self._batches.move_to_end(key)
        return self._batches[key]

    def _reserve(self, num_tokens: int) -> None:
        """Make room for so many tokens; what is bound to smaller buffers is bound anew."""
        if num_tokens * self._widths[0] > self._buffers[0].size:
            self._batches.clear()
            self._buffers = self._make_buffers(num_tokens)

    def _make_buffers(self, num_tokens: int) -> list[Floats]:
        return [np.zeros(num_tokens * width, np.float32) for width in self._widths]

    def _bind(self, key: Key) -> Batch:
        first_row, n, t = key
        # One token has arrays of its own: those of several are in use beside it
        buffers = self._buffers if n * t > 1 else self._make_buffers(1)
        arrays = [
            buffer[: n * t * width].reshape(n, t, width)
            for buffer, width in zip(buffers, self._widths, strict=True)
        ]
        hidden, projections, attended = arrays[:2], arrays[2:5], arrays[5]
        token_ids = np.zeros((n, t), np.int32)
        lengths, total = np.zeros(n, np.int32), np.zeros(1, np.int32)
        shared = {"sequence_lengths": value(lengths), "total_length": value(total)} | self._rope
        ends, made = [value(array) for array in hidden], value(attended)
        projected = [value(array) for array in projections]
        layers = []
        for i, (name, before, attention, *behind) in enumerate(self._layers):
            keys = value(self._arena.keys(i, first_row, n))
            values = value(self._arena.values(i, first_row, n))
            names = [output.name for output in before.get_outputs()]
            between = dict(zip(names, projected, strict=True))
            cache = {"past_key": keys, "past_value": values}
            grown = {"present_key": keys, "present_value": values}
            came, attends = {"hidden": ends[i % 2]}, {"self_attn": made}
            layers.append(
                BoundLayer(
                    Run(name, before, bind(before, came, between)),
                    Run(
                        name, attention, bind(attention, between | cache | shared, attends | grown)
                    ),
                    self._behind(name, behind, came | attends, hidden[(i + 1) % 2], arrays[6:]),
                )
            )
        embed = None
        if self._embed is not None:
            binding = bind(self._embed, {"token_ids": value(token_ids)}, {"hidden": ends[0]})
            embed = Run("embed", self._embed, binding)
        return Batch(
            token_ids,
            hidden[0],
            hidden[len(self._layers) % 2],
            tuple(projections),
            attended,
            lengths,
            total,
            embed,
            tuple(layers),
        )

    def _behind(
        self,
        name: str,
        sessions: list[Session],
        came: Values,
        result: Floats,
        sums: Sequence[Floats],
    ) -> Callable[[], None]:
        if self._group is not None:
            return bind_halves(self._group, name, sessions, came, result, sums)
        (behind,) = sessions
        return Run(name, behind, bind(behind, came, {"hidden_out": value(result)}))

    def _head(self, n: int) -> Head:
        if n not in self._heads:
            hidden = np.zeros((n, self._hidden_size), np.float32)
            logits = self._room_for_logits(n)
            binding = bind(self._lm_head, {"hidden": value(hidden)}, {"logits": value(logits)})
            self._heads[n] = Head(hidden, logits, binding)
            if len(self._heads) > MAX_BATCHES:
                self._heads.popitem(last=False)
        return self._heads[n]

    def _room_for_logits(self, n: int) -> Floats:
        """Rows of one buffer for all widths: at a vocabulary of 128k a row is half a megabyte."""
        if n > len(self._logits):
            self._heads.clear()
            self._logits = np.zeros((n, self._vocab_size), np.float32)
        return self._logits[:n]


def _load_whole(
    folder: Path,
    manifest: Manifest,
    assign: Assign,
    threads: Threads,
    packed: Path | None,
    proofs: Proofs,
    alive: Callable[[], None],
) -> Loaded:
    names = assign.share.part_names
    graphs = {name: manifest.graphs(name, assign.kv_cache) for name in names}
    copies = (
        PackedParts(packed, folder, manifest, threads, proofs, assign.is_suspect)
        if packed
        else None
    )
    return load_parts(folder, manifest, graphs, threads, proofs, copies, alive)

"""Shares of a group by hand, and a group of engines in threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from bramble.export import slices
from bramble.model import manifest as manifests
from bramble.model import slices as documents
from bramble.model.manifest import Manifest, Shape
from bramble.model.share import Share
from bramble.stage.engine import Engine, StepResult
from bramble.stage.exchange.protocol import Tally
from bramble.wire.messages import Step
from numpy.typing import NDArray
from ring import Ring, assign

T = TypeVar("T")


def bounds(total: int, parts: tuple[int, ...]) -> list[tuple[int, int]]:
    """Ranges in about these proportions, one behind another, none of them empty."""
    count, whole = len(parts), sum(parts)
    edges = [round(total * sum(parts[:i]) / whole) for i in range(count + 1)]
    edges = [min(max(edge, i), total - count + i) for i, edge in enumerate(edges)]
    return list(pairwise(edges))


def shares(shape: Shape, parts: tuple[int, ...], block: int, whole: Share) -> list[Share]:
    """One member's share for each of `parts`: KV heads, or query heads of one where there are more
    members than those, feed-forward blocks and rows of the lm_head in about these proportions."""
    group = shape.num_heads // shape.num_kv_heads
    if len(parts) <= shape.num_kv_heads:
        heads = [(a * group, b * group) for a, b in bounds(shape.num_kv_heads, parts)]
    else:
        heads = [
            (kv_head * group + start, kv_head * group + stop)
            for kv_head, (a, b) in enumerate(bounds(len(parts), (1,) * shape.num_kv_heads))
            for start, stop in bounds(group, parts[a:b])
        ]
    kv_heads = [(start // group, -(-stop // group)) for start, stop in heads]
    columns = [(a * block, b * block) for a, b in bounds(shape.intermediate_size // block, parts)]
    vocab = bounds(shape.vocab_size, parts)
    return [
        replace(whole, heads=h, kv_heads=k, columns=c, vocab=v if whole.has_lm_head else (0, 0))
        for h, k, c, v in zip(heads, kv_heads, columns, vocab, strict=True)
    ]


class Table:
    """Where the members of one group meet: each brings its part, all see the parts of all."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._parts: list[Any] = [None] * size
        self._barrier = threading.Barrier(size, timeout=30)

    def meet(self, rank: int, part: Any) -> list[Any]:
        self._parts[rank] = part
        self._barrier.wait()
        parts = list(self._parts)
        self._barrier.wait()  # nobody brings the next part before all have seen this one
        return parts

    def give_up(self) -> None:
        self._barrier.abort()


class Threads:
    """An Exchange between threads: sums in float32, in the order of ranks."""

    def __init__(self, table: Table, rank: int) -> None:
        self.rank, self.size, self.tally = rank, table.size, Tally()
        self._table = table
        self.gathered_bytes = 0

    def begin_step(self, step: int) -> None:
        assert len(set(self._table.meet(self.rank, step))) == 1

    def reduce(self, partial: NDArray[np.float32]) -> None:
        assert partial.flags.c_contiguous and partial.dtype == np.float32 and partial.ndim == 2
        first, *others = self._table.meet(self.rank, partial.copy())
        assert {other.shape for other in others} == {first.shape}
        total = first.copy()
        for other in others:
            total += other
        partial[:] = total

    def gather(self, mine: bytes) -> list[bytes] | None:
        self.gathered_bytes += len(mine)
        parts = self._table.meet(self.rank, mine)
        return parts if self.rank == 0 else None

    def close(self) -> None:
        self._table.give_up()


@dataclass
class GroupRing(Ring):
    """A ring whose stages are groups; `parts` are what each member's share is in proportion to."""

    parts: tuple[int, ...] = (1, 1)
    root: Path | None = None  # for slices and what is packed; None = a process makes them
    groups: list[list[Engine]] = field(default_factory=list)
    max_rows: int = 4

    def __post_init__(self) -> None:
        manifest = manifests.read(self.folder)
        kinds = manifest.quantization
        block = 1 if kinds.layers == "float32" else kinds.block_size
        for stage in range(self.num_stages):
            whole = assign(manifest, stage, self.num_stages, kv_cache=self.kv_cache)
            table = Table(len(self.parts))
            made = shares(manifest.shape, self.parts, block, whole.share)
            members = []
            for rank, share in enumerate(made):
                if self.root is not None:
                    cut(self.folder, manifest, share, self.root)
                exchange = Threads(table, rank)
                assigned = replace(whole, share=share)
                members.append(
                    Engine(self.folder, manifest, assigned, 1, self.root, exchange=exchange)
                )
            self.groups.append(members)
        self._pool = ThreadPoolExecutor(len(self.parts))

    def run(self, step: Step) -> list[StepResult]:
        results = []
        for members in self.groups:
            found = self.each(members, lambda engine, step=step: engine.run(step))
            for other in found[1:]:
                assert other.token_ids.size == 0
                if found[0].hidden is not None:
                    np.testing.assert_array_equal(other.hidden, found[0].hidden)
            results.append(found[0])
            step = replace(step, hidden=found[0].hidden)
        return results

    def each(self, members: list[Engine], what: Callable[[Engine], T]) -> list[T]:
        """Have all members of a group do something at once."""

        def careful(engine: Engine) -> T:
            try:
                return what(engine)
            except BaseException:
                engine._group.exchange.close()  # the others wait for it
                raise

        done = [self._pool.submit(careful, engine) for engine in members]
        errors = [future.exception() for future in done]
        for error in errors:
            if error is not None and not isinstance(error, threading.BrokenBarrierError):
                raise error
        return [future.result() for future in done]


class GroupLogits(GroupRing):
    """A group of one stage that shows the logits at every position, as `ring.Logits`."""

    def prefill_logits(self, tokens, position=0, row=0):
        ids, positions = np.array([tokens], np.int32), np.array([position], np.int32)
        return self._logits(
            lambda shard: shard.forward(ids, row, positions, len(tokens)), lambda hidden: hidden[0]
        )

    def decode_logits(self, tokens, positions):
        column, places = np.array(tokens, np.int32)[:, None], np.array(positions, np.int32)
        return self._logits(
            lambda shard: shard.forward(column, 0, places, 1), lambda hidden: hidden[:, -1]
        )

    def _logits(self, forward, rows):
        def member(engine: Engine):
            hidden = forward(engine._shard)
            return engine._shard.logits(rows(hidden)).copy()

        return np.concatenate(self.each(self.groups[0], member), axis=1)


def cut(folder: Path, manifest: Manifest, share: Share, root: Path) -> Path:
    """Make the slices in this process where a stage looks for them: it would start one for it."""
    place = root / "slices" / f"{manifest.name}-{documents.key(manifest, share)}"
    if not place.exists():
        slices.write(folder, manifest, share, place)
    return place

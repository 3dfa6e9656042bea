"""The KV cache of a shard: keys and values of every layer and row in one anonymous mapping.

Pages that no token touched cost no memory. It knows rows and tokens, not sequences.
"""

from __future__ import annotations

import contextlib
import mmap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bramble.errors import Broken, CacheFull

MIB = 1 << 20
Cache = NDArray[np.float32] | NDArray[np.float16] | NDArray[np.int8]
MADV_POPULATE_WRITE = 23  # Linux 5.14; not among the mmap module's names
MAP_NORESERVE = 0x4000  # Linux on x86 and ARM; the mmap module names it from Python 3.13 on


@dataclass(frozen=True, slots=True)
class ArenaShape:
    num_layers: int
    num_rows: int
    num_kv_heads: int
    max_length: int  # tokens of one row
    head_dim: int
    kind: str = "float32"  # of its numbers: one of manifest.CACHE_BYTES

    @property
    def head_bytes(self) -> int:
        """Bytes of one token's key (or value) in one head."""
        return self.head_dim * np.dtype(self.kind).itemsize

    @property
    def row_bytes(self) -> int:
        """Bytes of one row's keys (or values) in one layer."""
        return self.num_kv_heads * self.max_length * self.head_bytes

    @property
    def total_bytes(self) -> int:
        """Bytes of address space, most of which is never touched."""
        return self.num_layers * 2 * self.num_rows * self.row_bytes

    @property
    def token_bytes(self) -> int:
        return self.num_layers * 2 * self.num_kv_heads * self.head_bytes


class Arena:
    def __init__(self, shape: ArenaShape, max_bytes: int) -> None:
        """Map the address space. Raises Broken if the system refuses it."""
        self.shape = shape
        self.max_bytes = max_bytes
        self._lengths = [0] * shape.num_rows  # tokens that each row's memory was touched for
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
        try:
            self._map = mmap.mmap(-1, max(shape.total_bytes, mmap.PAGESIZE), flags=flags)
        except (OSError, OverflowError) as error:
            raise Broken(
                f"cannot map {shape.total_bytes // MIB} MiB of address space for the KV cache: "
                f"{error}; lower max_rows or max_length"
            ) from error
        with contextlib.suppress(OSError):  # a kernel built without huge pages refuses the advice
            self._map.madvise(mmap.MADV_NOHUGEPAGE)  # a 2 MiB page would charge a short row for it
        row = (shape.num_kv_heads, shape.max_length, shape.head_dim)
        sizes = (shape.num_layers, 2, shape.num_rows, *row)
        kind = np.dtype(shape.kind)
        count = shape.total_bytes // kind.itemsize
        self._cache: Cache = np.frombuffer(self._map, kind, count).reshape(sizes)

    @property
    def used_bytes(self) -> int:
        return sum(self._lengths) * self.shape.token_bytes

    @property
    def num_used(self) -> int:
        """How many rows hold tokens."""
        return sum(length > 0 for length in self._lengths)

    def keys(self, layer: int, first_row: int, n: int) -> Cache:
        """View of (n, kv_heads, max_length, head_dim), C-contiguous; aliases the arena."""
        return self._cache[layer, 0, first_row : first_row + n]

    def values(self, layer: int, first_row: int, n: int) -> Cache:
        """As `keys`."""
        return self._cache[layer, 1, first_row : first_row + n]

    def length(self, row: int) -> int:
        """Tokens that a row's memory is reserved for."""
        return self._lengths[row]

    def extend(self, first_row: int, lengths: list[int]) -> None:
        """Reserve rows [first_row, …) up to `lengths` tokens each, all of them or none.

        Raises Broken for a row or length outside the arena, CacheFull beyond the byte budget.
        """
        self._check_rows(first_row, first_row + len(lengths) - 1)
        if max(lengths) > self.shape.max_length or min(lengths) < 1:
            raise Broken(
                f"a row of {max(lengths)} tokens was asked of a KV cache whose rows "
                f"hold 1 to {self.shape.max_length}; head and stage disagree about max_length"
            )
        rows = range(first_row, first_row + len(lengths))
        grown = [max(self._lengths[r], length) for r, length in zip(rows, lengths, strict=True)]
        need = sum(grown) - sum(self._lengths[first_row : first_row + len(lengths)])
        self._check_budget(need * self.shape.token_bytes)
        self._lengths[first_row : first_row + len(lengths)] = grown

    def swap(self, a: int, b: int, tokens: int) -> None:
        """Exchange the first `tokens` of two rows; what lies beyond is given up."""
        self._check_rows(a, b)
        if a == b:
            return
        self.trim(a, tokens)
        self.trim(b, tokens)
        short, long = sorted((a, b), key=lambda row: self._lengths[row])
        common, length = self._lengths[short], self._lengths[long]
        for layer in self._cache:  # (2, rows, kv_heads, max_length, head_dim)
            kept = layer[:, short, :, :common].copy()
            layer[:, short, :, :length] = layer[:, long, :, :length]
            layer[:, long, :, :common] = kept
        self._lengths[short] = length
        self.trim(long, common)

    def copy(self, source: int, target: int, start: int, stop: int) -> None:
        """Make tokens [start, stop) of one row another's too, behind what that holds already.

        The budget is not asked: rows that make room for this are trimmed only now.
        """
        self._check_rows(source, target)
        if not (start < stop <= self._lengths[source] and start <= self._lengths[target]):
            raise Broken(
                f"tokens {start} to {stop} of row {source} were to be copied to row {target}, "
                f"which hold {self._lengths[source]} and {self._lengths[target]}; "
                "head and stage disagree about the cache"
            )
        for layer, planes in enumerate(self._cache):  # (2, rows, kv_heads, max_length, head_dim)
            for plane, rows in enumerate(planes):
                self._populate(layer * 2 + plane, target, start, stop)
                for copied, read in zip(rows[target], rows[source], strict=True):
                    copied[start:stop] = read[start:stop]  # by heads, else numpy copies twice
        self._lengths[target] = max(self._lengths[target], stop)

    def trim(self, row: int, keep: int) -> None:
        """Give a row's memory beyond `keep` tokens back to the system, whole pages only."""
        self._check_rows(row, row)
        length = self._lengths[row]
        if length <= keep:
            return
        shape = self.shape
        stripe, token = shape.max_length * shape.head_bytes, shape.head_bytes
        for plane in range(shape.num_layers * 2):
            start = (plane * shape.num_rows + row) * shape.row_bytes
            if keep == 0:
                self._discard(start, start + shape.row_bytes)
                continue
            for head in range(shape.num_kv_heads):
                offset = start + head * stripe
                self._discard(offset + keep * token, offset + length * token)
        self._lengths[row] = keep

    def clear(self) -> None:
        """Forget every row."""
        for row in range(self.shape.num_rows):
            self.trim(row, 0)

    def _populate(self, plane: int, row: int, start: int, stop: int) -> None:
        """Have the system bring a row's pages for tokens [start, stop) at once, not one by one."""
        shape = self.shape
        first = (plane * shape.num_rows + row) * shape.row_bytes + start * shape.head_bytes
        for head in range(shape.num_kv_heads):
            begin = first + head * shape.max_length * shape.head_bytes
            end = begin + (stop - start) * shape.head_bytes
            begin -= begin % mmap.PAGESIZE
            with contextlib.suppress(OSError):  # Linux before 5.14 does not know it
                self._map.madvise(MADV_POPULATE_WRITE, begin, end - begin)

    def _discard(self, start: int, stop: int) -> None:
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        last = stop // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def _check_rows(self, *rows: int) -> None:
        for row in rows:
            if not 0 <= row < self.shape.num_rows:
                raise Broken(
                    f"row {row} was asked of a KV cache with {self.shape.num_rows} rows; "
                    "head and stage disagree about the plan"
                )

    def _check_budget(self, need: int) -> None:
        left = self.max_bytes - self.used_bytes
        if need > max(left, 0):
            raise CacheFull(
                f"cache full: need {need / MIB:.1f} MiB, {left / MIB:.1f} of "
                f"{self.max_bytes / MIB:.1f} MiB left; lower max_tokens or wait"
            )

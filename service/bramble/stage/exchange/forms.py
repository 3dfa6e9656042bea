"""How partial sums are written on the wire: float32, float16, or 8-bit blocks.

Values are counted in blocks of 32 that do not cross rows, so that any range of blocks can be
packed alone. What is packed is what every member sums, its sender too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput, Broken

Bytes = NDArray[np.uint8]
Values = NDArray[np.float32]
WIDTH = 32


class Span:
    """Blocks [first, stop) of an array of rows of `hidden` values.

    values     where these blocks lie in the array's values, row by row
    is_ragged  True if the last block of each row is not full
    """

    __slots__ = ("first", "hidden", "is_ragged", "num_blocks", "stop", "values")

    def __init__(self, hidden: int, first: int, stop: int) -> None:
        self.hidden, self.first, self.stop = hidden, first, stop
        self.num_blocks = stop - first
        self.is_ragged = hidden % WIDTH != 0
        self.values = slice(self._offset(first), self._offset(stop))

    def _offset(self, block: int) -> int:
        row, column = divmod(block, blocks_per_row(self.hidden))
        return row * self.hidden + min(column * WIDTH, self.hidden)

    def mask(self) -> NDArray[np.bool_]:
        """Return bool (num_blocks, 32): which places of padded blocks hold values."""
        block = np.arange(self.first, self.stop) % blocks_per_row(self.hidden)
        return block[:, None] * WIDTH + np.arange(WIDTH) < self.hidden

    def split(self, parts: int) -> list[Span]:
        """Cut into `parts` spans that differ by one block at most; some may be empty."""
        count = self.num_blocks
        edges = [self.first + count * part // parts for part in range(parts + 1)]
        return [Span(self.hidden, start, stop) for start, stop in pairwise(edges)]


def blocks_per_row(hidden: int) -> int:
    return (hidden + WIDTH - 1) // WIDTH


class Form(Protocol):
    name: str
    number: int  # on the wire
    is_exact: bool

    def __hash__(self) -> int: ...

    def num_bytes(self, span: Span) -> int:
        """Return how long these blocks are when they are packed."""
        ...

    def pack(self, values: Values, span: Span) -> Bytes:
        """Return these blocks of `values` (flat), packed; no view of `values`. Raises Broken."""
        ...

    def sum(self, packed: Sequence[Bytes], span: Span, total: Values) -> None:
        """Overwrite these blocks of `total` (flat) with the sum of what is packed, in order."""
        ...


class Float32:
    """Four bytes a value; exact."""

    name, number, is_exact = "float32", 0, True
    dtype: Any = np.dtype(np.float32)

    def num_bytes(self, span: Span) -> int:
        values = span.values
        return int((values.stop - values.start) * self.dtype.itemsize)

    def pack(self, values: Values, span: Span) -> Bytes:
        return values[span.values].astype(self.dtype).view(np.uint8)

    def sum(self, packed: Sequence[Bytes], span: Span, total: Values) -> None:
        into = total[span.values]
        into[:] = packed[0].view(self.dtype)
        for addend in packed[1:]:
            into += addend.view(self.dtype)


class Float16(Float32):
    """Two bytes a value: 11 bits of fraction, up to 65504."""

    name, number, is_exact = "float16", 1, False
    dtype = np.dtype(np.float16)

    def pack(self, values: Values, span: Span) -> Bytes:
        try:
            with np.errstate(over="raise"):
                return super().pack(values, span)
        except FloatingPointError as error:
            raise Broken(
                "a partial sum exceeds 65504, the most that a float16 holds; set exchange to "
                "float32 or q8"
            ) from error


class Q8:
    """34 bytes for 32 values; see q8.py, which is compiled when the first of these is made."""

    name, number, is_exact = "q8", 2, False

    def __init__(self) -> None:
        from bramble.stage.exchange import q8

        self._pack, self._add = q8.pack, q8.add

    def num_bytes(self, span: Span) -> int:
        return (WIDTH + 2) * span.num_blocks

    def pack(self, values: Values, span: Span) -> Bytes:
        blocks = values[span.values]
        if span.is_ragged:
            padded = np.zeros((span.num_blocks, WIDTH), np.float32)
            padded[span.mask()] = blocks
            blocks = padded.reshape(-1)
        packed = np.empty(self.num_bytes(span), np.uint8)
        self._pack(blocks, packed)
        return packed

    def sum(self, packed: Sequence[Bytes], span: Span, total: Values) -> None:
        into = total[span.values]
        if span.is_ragged:
            into = np.empty(span.num_blocks * WIDTH, np.float32)
        for index, addend in enumerate(packed):
            self._add(addend, index == 0, into)
        if span.is_ragged:
            total[span.values] = into.reshape(-1, WIDTH)[span.mask()]


FORMS: dict[str, Callable[[], Form]] = {"float32": Float32, "float16": Float16, "q8": Q8}


def form_of(name: str) -> Form:
    """Return the form of that name, ready to use. Raises BadInput."""
    if name not in FORMS:
        raise BadInput(f"exchange: got {name!r}, need one of {', '.join(FORMS)}")
    return FORMS[name]()

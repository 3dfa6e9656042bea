"""Where an exporter gets its tensors from: the seam between file formats and the model folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bramble.export.quantize import Quantized

CHUNK_WEIGHTS = 1 << 20  # quantising takes about 30 bytes of memory per weight

Blocks = Callable[[int, int], Quantized]  # rows [start, stop) in blocks of integers


class Weights(Protocol):
    """Named tensors that are read a few rows at a time, so that no tensor has to fit in memory."""

    def names(self) -> Iterable[str]: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises BadInput if there is no such tensor."""

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        """Rows [start, stop) along the first axis as float32, freshly made."""

    def blocks(self, name: str, kind: str) -> Blocks | None:
        """The tensor's own blocks, where quantize.py's `kind` holds them unchanged."""


def spans(weights: Weights, name: str) -> Iterator[slice]:
    """Yield all rows of a tensor, some CHUNK_WEIGHTS weights at a time."""
    n, *rest = weights.shape(name)
    step = max(CHUNK_WEIGHTS // prod(rest), 1)
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def chunks(weights: Weights, name: str) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield the rows of each of `spans`: which ones, and they."""
    for where in spans(weights, name):
        yield where, weights.rows(name, where.start, where.stop)

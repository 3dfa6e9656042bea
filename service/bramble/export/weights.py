"""Where an exporter gets its tensors from: the seam between file formats and the model folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

CHUNK_WEIGHTS = 1 << 20  # quantising takes about 30 bytes of memory per weight


class Weights(Protocol):
    """Named tensors that are read a few rows at a time, so that no tensor has to fit in memory."""

    def names(self) -> Iterable[str]: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises BadInput if there is no such tensor."""

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        """Rows [start, stop) along the first axis as float32, freshly made."""


def chunks(weights: Weights, name: str) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Yield all rows of a tensor, some CHUNK_WEIGHTS weights at a time: which ones, and they."""
    n, *rest = weights.shape(name)
    step = max(CHUNK_WEIGHTS // prod(rest), 1)
    for start in range(0, n, step):
        stop = min(start + step, n)
        yield slice(start, stop), weights.rows(name, start, stop)

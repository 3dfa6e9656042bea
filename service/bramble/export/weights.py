"""Where an exporter gets its tensors from: the seam between file formats and the model folder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Weights(Protocol):
    """Named tensors that are read a few rows at a time, so that no tensor has to fit in memory."""

    def names(self) -> Iterable[str]: ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises BadInput if there is no such tensor."""

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        """Rows [start, stop) along the first axis as float32, freshly made."""

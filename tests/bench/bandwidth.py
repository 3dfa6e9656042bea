"""How fast this machine reads memory, for the roofline.

usage: python -m tests.bench.bandwidth THREADS
A line in on stdin, a line out on stdout, as tests.bench.loop.
"""

from __future__ import annotations

import os
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is imported; the threads here are ours

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

BYTES = 1 << 29  # per thread; far beyond any cache
PASSES = 5

Floats = NDArray[np.float32]


def read(array: Floats) -> None:
    """A dot product with itself reads every byte once and has next to nothing to compute."""
    np.dot(array, array)


def bandwidth(arrays: Sequence[Floats]) -> float:
    """The best of some passes in GB/s: what disturbs a pass only makes it slower."""
    best = 0.0
    with ThreadPoolExecutor(len(arrays)) as pool:
        for _ in range(PASSES):
            started = time.monotonic()
            list(pool.map(read, arrays))
            best = max(best, sum(a.nbytes for a in arrays) / (time.monotonic() - started) / 1e9)
    return best


def main() -> None:
    arrays = [np.ones(BYTES // 4, np.float32) for _ in range(int(sys.argv[1]))]
    print(json.dumps("ready"), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"bandwidth": [bandwidth(arrays)]}), flush=True)


if __name__ == "__main__":
    main()

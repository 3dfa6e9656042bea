"""One part's weights on disk: tensors on page boundaries, hashed while they are written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bramble.model.manifest import File

PAGE_BYTES = 4096  # mmap's granularity on the nodes
LINE_BYTES = 64  # a cache line: enough for norms and biases


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor in a data file, as ONNX's external data names it."""

    name: str
    dtype: str  # numpy's name
    shape: tuple[int, ...]
    location: str  # file name, relative to the .onnx beside it
    offset: int
    bytes: int


class DataFile:
    """A file that is written front to back; `file` and `tensors` are complete after closing."""

    def __init__(self, path: Path) -> None:
        self.tensors: list[Stored] = []
        self._name = path.name
        self._file = path.open("wb")
        self._sha256 = hashlib.sha256()
        self._size = 0

    def __enter__(self) -> DataFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def file(self) -> File:
        return File(self._sha256.hexdigest(), self._size)

    def add(
        self, name: str, dtype: str, shape: tuple[int, ...], pieces: Iterable[NDArray[Any]]
    ) -> Stored:
        """Append a tensor that comes in pieces; together they must be dtype and shape."""
        total = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        boundary = PAGE_BYTES if total >= PAGE_BYTES else LINE_BYTES
        self._write(memoryview(bytes(-self._size % boundary)))
        offset = self._size
        for piece in pieces:
            assert piece.dtype == dtype
            self._write(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
        assert self._size - offset == total, f"{name}: wrote {self._size - offset} of {total} bytes"
        stored = Stored(name, dtype, shape, self._name, offset, total)
        self.tensors.append(stored)
        return stored

    def _write(self, data: memoryview) -> None:
        self._sha256.update(data)
        self._file.write(data)
        self._size += len(data)

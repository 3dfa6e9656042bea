"""Tensors of a Hugging Face folder: one safetensors file, or several with an index.

The format is 8 bytes of header length, a JSON header, then the tensors back to back
(https://github.com/huggingface/safetensors#format). Rows are read with positioned reads: mapped
pages would count as this process's memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bramble.errors import BadInput

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class Tensor:
    path: Path
    dtype: str  # safetensors' name, e.g. BF16
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file
    bytes: int


class Checkpoint:
    """All tensors of a folder by name; files are opened for the length of a read only."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput if a file is missing, cut short, overlapping or of another format."""
        self._tensors: dict[str, Tensor] = {}
        for path in _files(folder):
            for name, tensor in read_header(path).items():
                if name in self._tensors:
                    other = self._tensors[name].path.name
                    raise BadInput(f"{path}: tensor {name!r} is in {other} too")
                self._tensors[name] = tensor

    def names(self) -> Iterable[str]:
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensor(name).shape

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        tensor = self._tensor(name)
        assert 0 <= start <= stop <= tensor.shape[0]
        row_bytes = tensor.bytes // tensor.shape[0]
        raw = _read(tensor.path, tensor.offset + start * row_bytes, (stop - start) * row_bytes)
        rows = to_float32(raw, tensor.dtype)
        if not np.isfinite(rows).all():
            raise BadInput(
                f"{tensor.path}: tensor {name!r} has numbers that are not finite "
                "(NaN or infinity): its weights are damaged; download the model again"
            )
        return rows.reshape(stop - start, *tensor.shape[1:])

    def _tensor(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise BadInput(f"the safetensors files have no tensor {name!r}")
        tensor = self._tensors[name]
        _check_dtype(name, tensor)
        return tensor


def read_header(path: Path) -> dict[str, Tensor]:
    """Read and check one file's table of tensors. Raises BadInput that names the file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or (length > size - 8 and length <= MAX_HEADER_BYTES):
                raise _truncated(path, 8 + length if size >= 8 else 8, size)
            if length > MAX_HEADER_BYTES:
                raise BadInput(
                    f"{path} is not a safetensors file: its header claims {length} bytes"
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise BadInput(f"{path} is not a safetensors file: its header is not JSON") from error
    tensors = _parse(path, header, 8 + length)
    _check_layout(path, tensors, 8 + length, size)
    return tensors


def to_float32(raw: bytearray, dtype: str) -> NDArray[np.float32]:
    """Widen little-endian F32, F16 or BF16 bytes; exact for all three."""
    if dtype == "F32":
        return np.frombuffer(raw, "<f4").astype(np.float32, copy=False)
    if dtype == "F16":
        return np.frombuffer(raw, "<f2").astype(np.float32)
    wide = np.frombuffer(raw, "<u2").astype(np.uint32)
    wide <<= 16  # bfloat16 is the upper half of a float32
    return wide.view(np.float32)


def _files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if index.exists():
        try:
            names = sorted(
                set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{index} cannot be read: {error!r}; download it again") from error
        paths = [folder / str(name) for name in names]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            raise BadInput(
                f"{folder}: {missing[0]} is missing ({len(missing)} of {len(paths)} weight files); "
                "download it again"
            )
        return paths
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    raise BadInput(f"{folder} has no {SINGLE} and no {INDEX}; only safetensors weights are read")


def _parse(path: Path, header: Any, start: int) -> dict[str, Tensor]:
    try:
        return {
            name: Tensor(
                path=path,
                dtype=str(entry["dtype"]),
                shape=tuple(int(n) for n in entry["shape"]),
                offset=start + int(entry["data_offsets"][0]),
                bytes=int(entry["data_offsets"][1]) - int(entry["data_offsets"][0]),
            )
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise BadInput(f"{path}: header has a malformed entry: {error!r}") from error


def _check_layout(path: Path, tensors: dict[str, Tensor], start: int, size: int) -> None:
    """Tensors must follow one another without gap or overlap up to the end of the file."""
    position = start
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].offset):
        expected = prod(tensor.shape) * ITEM_BYTES.get(tensor.dtype, 0)
        if tensor.dtype in ITEM_BYTES and tensor.bytes != expected:
            raise BadInput(f"{path}: tensor {name!r} has {tensor.bytes} bytes, need {expected}")
        if tensor.offset != position or tensor.bytes < 0:
            raise BadInput(f"{path}: tensor {name!r} overlaps its neighbour or leaves a gap")
        position += tensor.bytes
    if position > size:
        raise _truncated(path, position, size)


def _check_dtype(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in ITEM_BYTES:
        raise BadInput(
            f"{tensor.path}: tensor {name!r} is {tensor.dtype}; read are {', '.join(ITEM_BYTES)}: "
            "export from the model's unquantised release"
        )


def _truncated(path: Path, promised: int, size: int) -> BadInput:
    return BadInput(
        f"{path} is truncated: header promises {promised} bytes, file has {size}; download it again"
    )


def _read(path: Path, offset: int, count: int) -> bytearray:
    buffer = bytearray(count)
    view, done = memoryview(buffer), 0
    descriptor = os.open(path, os.O_RDONLY)
    try:
        while done < count:
            got = os.preadv(descriptor, [view[done:]], offset + done)
            if got == 0:
                raise _truncated(path, offset + count, offset + done)
            done += got
    finally:
        os.close(descriptor)
    return buffer

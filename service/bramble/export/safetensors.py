"""Tensors of a Hugging Face folder: one safetensors file, or several with an index.

The format is 8 bytes of header length, a JSON header, then the tensors back to back
(https://github.com/huggingface/safetensors#format). Rows are read with positioned reads: mapped
pages would count as this process's memory.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
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
LFS = b"version "  # what a pointer of Git LFS begins with
ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(frozen=True, slots=True)
class Tensor:
    path: Path
    dtype: str  # safetensors' name, e.g. BF16
    shape: tuple[int, ...]
    offset: int  # bytes from the start of the file
    bytes: int


class Headers:
    """What the files' headers say of all tensors, whose numbers may be still to come."""

    def __init__(self, files: Iterable[Mapping[str, Tensor]], promised: Iterable[str] = ()) -> None:
        """Raises BadInput for a tensor that is in two files, or in none though it is promised."""
        self._tensors: dict[str, Tensor] = {}
        for tensors in files:
            for name, tensor in tensors.items():
                if name in self._tensors:
                    other = self._tensors[name].path.name
                    raise BadInput(
                        f"{tensor.path}: tensor {name!r} is in {other} too; remove one of the "
                        "files, or download the model again"
                    )
                self._tensors[name] = tensor
        for name in sorted(set(promised) - set(self._tensors)):
            raise BadInput(
                f"{INDEX} names tensor {name!r}, which no weight file has; download it again"
            )

    def names(self) -> Iterable[str]:
        return self._tensors.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        return self.tensor(name).shape

    def tensor(self, name: str) -> Tensor:
        """Raises BadInput if there is none, or its numbers are of a kind that is not read."""
        if name not in self._tensors:
            raise BadInput(f"the safetensors files have no tensor {name!r}")
        tensor = self._tensors[name]
        _check_dtype(name, tensor)
        return tensor


class Checkpoint:
    """All tensors of a folder by name; files are opened for the length of a read only."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput if a file is missing, cut short, overlapping or of another format."""
        promised = read_index(folder)
        names = sorted(set(promised.values())) if promised else [SINGLE]
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise BadInput(
                f"{folder}: {missing[0]} is missing ({len(missing)} of {len(names)} weight files); "
                "download it again"
            )
        self.headers = Headers((read_header(folder / name) for name in names), promised)

    def names(self) -> Iterable[str]:
        return self.headers.names()

    def shape(self, name: str) -> tuple[int, ...]:
        return self.headers.shape(name)

    def blocks(self, name: str, kind: str) -> None:
        """These files hold no blocks."""

    def rows(self, name: str, start: int, stop: int) -> NDArray[np.float32]:
        tensor = self.headers.tensor(name)
        assert 0 <= start <= stop <= tensor.shape[0]
        row_bytes = tensor.bytes // tensor.shape[0]
        raw = read_bytes(tensor.path, tensor.offset + start * row_bytes, (stop - start) * row_bytes)
        rows = to_float32(raw, tensor.dtype)
        if not np.isfinite(rows).all():
            raise BadInput(
                f"{tensor.path}: tensor {name!r} has numbers that are not finite "
                "(NaN or infinity): its weights are damaged; download the model again"
            )
        return rows.reshape(stop - start, *tensor.shape[1:])


def read_index(folder: Path) -> dict[str, str]:
    """Which tensor is in which file; empty where one file has them all.

    Where both are there, that file is read, as transformers does. Raises BadInput for an index
    that is broken, or names a file outside of the folder.
    """
    index = folder / INDEX
    if (folder / SINGLE).is_file() or not index.exists():
        return {}
    try:
        found = json.loads(index.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{index} cannot be read: {error}; download it again") from error
    named = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(named, dict) or not named:
        raise BadInput(f"{index} has no weight_map of tensors and files; download it again")
    for name, file in named.items():
        if (
            not isinstance(file, str)
            or not file
            or file.startswith("/")
            or ".." in Path(file).parts
        ):
            raise BadInput(
                f"{index}: tensor {name!r} is to be in {file!r}, need the name of a file in this "
                "folder; download it again"
            )
    return dict(named)


def read_header(path: Path) -> dict[str, Tensor]:
    """Read and check one file's table of tensors. Raises BadInput that names the file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            begin = file.read(8)
            if begin == LFS:
                raise BadInput(
                    f"{path} is a pointer of Git LFS, not the weights; run `git lfs pull` there"
                )
            length = int.from_bytes(begin, "little")
            if size < 8 or (length > size - 8 and length <= MAX_HEADER_BYTES):
                raise _truncated(path, 8 + length if size >= 8 else 8, size)
            if length > MAX_HEADER_BYTES:
                raise BadInput(
                    f"{path} is not a safetensors file, or damaged: its header claims {length} "
                    "bytes; download it again"
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{path} is not a safetensors file, or damaged: its header is not JSON; "
            "download it again"
        ) from error
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


def read_bytes(path: Path, offset: int, count: int) -> bytearray:
    """Read exactly these bytes. Raises BadInput where the file ends before."""
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


def _parse(path: Path, header: Any, start: int) -> dict[str, Tensor]:
    if not isinstance(header, dict):
        raise BadInput(f"{path}: its header is no table of tensors; download it again")
    return {
        name: _entry(path, name, entry, start)
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _entry(path: Path, name: str, entry: Any, start: int) -> Tensor:
    found: dict[str, Any] = entry if isinstance(entry, dict) else {}
    dtype, shape, where = (found.get(key, "") for key in ("dtype", "shape", "data_offsets"))
    if not (dtype and isinstance(dtype, str) and _are_counts(shape) and _are_counts(where, 2)):
        raise BadInput(
            f"{path}: its header's entry of tensor {name!r} is malformed; download it again"
        )
    return Tensor(path, dtype, tuple(shape), start + where[0], where[1] - where[0])


def _are_counts(found: Any, length: int | None = None) -> bool:
    """A list of whole numbers from 0 on, `length` of them if that is given."""
    return (
        isinstance(found, list)
        and all(type(number) is int and number >= 0 for number in found)
        and (length is None or len(found) == length)
    )


def _check_layout(path: Path, tensors: dict[str, Tensor], start: int, size: int) -> None:
    """Tensors must follow one another without gap or overlap up to the end of the file."""
    position = start
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].offset):
        expected = prod(tensor.shape) * ITEM_BYTES.get(tensor.dtype, 0)
        if tensor.dtype in ITEM_BYTES and tensor.bytes != expected:
            raise BadInput(
                f"{path}: tensor {name!r} has {tensor.bytes} bytes, need {expected}; "
                "download it again"
            )
        if tensor.offset != position or tensor.bytes < 0:
            raise BadInput(
                f"{path}: tensor {name!r} overlaps its neighbour or leaves a gap; download it again"
            )
        position += tensor.bytes
    if position > size:
        raise _truncated(path, position, size)
    if position < size:
        raise BadInput(
            f"{path}: header promises {position} bytes, file has {size}: it is damaged; "
            "download it again"
        )


def _check_dtype(name: str, tensor: Tensor) -> None:
    if tensor.dtype not in ITEM_BYTES:
        is_whole = tensor.dtype in ("F64", "C64")
        raise BadInput(
            f"{tensor.path}: tensor {name!r} is {tensor.dtype}; read are {', '.join(ITEM_BYTES)}: "
            + ("save it as F32" if is_whole else "export from the model's unquantised release")
        )


def _truncated(path: Path, promised: int, size: int) -> BadInput:
    return BadInput(
        f"{path} is truncated: header promises {promised} bytes, file has {size}; download it again"
    )

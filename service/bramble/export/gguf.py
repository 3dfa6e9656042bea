"""The container of a GGUF file: its metadata, and where each tensor's blocks lie.

The format is a magic, a version, two counts, the metadata, the table of tensors, then the tensors
back to back (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). Nothing in the file is
believed before it is checked: a count costs no memory until the bytes that it counts were found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from bramble.errors import BadInput
from bramble.export.config_file import MOST, plain, shown
from bramble.export.gguf_blocks import BLOCKS, OTHERS, Format
from bramble.export.safetensors import LFS

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER_BYTES = 100_000_000  # of metadata and table; a vocabulary of 256,000 takes 10 million
MAX_ITEMS = (
    1 << 22
)  # of all arrays together; a vocabulary of 256,000 with its merges has 1.3 million
MAX_TENSORS = 1 << 16  # 1,000 layers, which is what export reads at most, have 12,000
MAX_KEYS = 1 << 16
MAX_NAME_BYTES = 1024  # of a key or a tensor; ggml's tensors have 63 at most
MAX_DIMENSIONS = 4  # the format's own limit
ALIGNMENT = 32  # of tensors, in bytes, where general.alignment says nothing
NUMBERS: Mapping[int, str] = {
    0: "u1",
    1: "i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
TEXT, ARRAY = 8, 9


@dataclass(frozen=True, slots=True)
class Tensor:
    format: Format
    shape: tuple[int, ...]  # rows first, as numpy has it: the file's is the other way round
    offset: int  # bytes from the start of the file

    @property
    def row_bytes(self) -> int:
        """Along the first axis: of a matrix's row, or of one number of a vector."""
        return self.bytes // self.shape[0]

    @property
    def bytes(self) -> int:
        return self.format.bytes_of(prod(self.shape))


@dataclass(frozen=True, slots=True)
class Container:
    """metadata  key → a number, a text, true or false, or a list of one of these"""

    path: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def read_container(path: Path) -> Container:
    """Read and check all but the tensors' numbers. Raises BadInput that names the file."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            return _Reader(path, file, size).container()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


class _Reader:
    """Goes through one file from its start; every length is checked against what is left."""

    def __init__(self, path: Path, file: BufferedReader, size: int) -> None:
        self._path, self._file, self._size = path, file, size
        self._at, self._items = 0, 0

    def container(self) -> Container:
        self._begin()
        num_tensors, num_keys = self._number(10), self._number(10)
        self._check_count(num_tensors, MAX_TENSORS, "tensors", least_bytes=24)
        self._check_count(num_keys, MAX_KEYS, "keys", least_bytes=13)
        metadata: dict[str, Any] = {}
        for _ in range(num_keys):
            key = self._text("a key", MAX_NAME_BYTES)
            if key in metadata:
                raise self._damaged(f"its key {plain(key)} is there twice")
            metadata[key] = self._value(key, self._number(4))
        alignment = metadata.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or alignment < 1 or alignment & (alignment - 1):
            raise self._damaged(f"general.alignment is {shown(alignment)}, need a power of two")
        table = [self._entry() for _ in range(num_tensors)]
        return Container(self._path, metadata, self._placed(table, alignment))

    def _begin(self) -> None:
        begin = self._take(8, "its first bytes")
        if begin == LFS:
            raise BadInput(
                f"{self._path} is a pointer of Git LFS, not the model; run `git lfs pull` there"
            )
        if begin[:4] != MAGIC:
            raise BadInput(f"{self._path} is not a GGUF file: it does not begin with {MAGIC!r}")
        version = int.from_bytes(begin[4:], "little")
        if version not in VERSIONS:
            if version & 0xFFFF == 0:
                version = int.from_bytes(begin[4:], "big")
                told = f"version {version} for big-endian processors"
            else:
                told = f"version {version}"
            raise BadInput(
                f"{self._path} is GGUF of {told}; read are versions 2 and 3, little-endian: take a "
                "newer conversion of the model"
            )

    def _value(self, key: str, kind: int) -> Any:
        if kind == TEXT:
            return self._text(plain(key))
        if kind == ARRAY:
            return self._array(key, self._number(4), self._number(10))
        if kind not in NUMBERS:
            raise self._damaged(f"its key {plain(key)} is of type {kind}, which GGUF does not have")
        return self._number(kind)

    def _array(self, key: str, kind: int, count: int) -> list[Any]:
        if kind != TEXT and kind not in NUMBERS:
            what = "arrays" if kind == ARRAY else f"type {kind}"
            raise self._damaged(f"its key {plain(key)} is an array of {what}, which no model needs")
        self._items += count
        least = 8 if kind == TEXT else np.dtype(NUMBERS[kind]).itemsize
        if self._items > MAX_ITEMS:
            raise self._damaged(
                f"its key {plain(key)} claims {count} entries, where {MAX_ITEMS} of all keys are "
                "more than any model has"
            )
        if count * least > self._size - self._at:
            raise self._truncated(f"its key {plain(key)} claims {count} entries")
        if kind == TEXT:
            return [self._text(plain(key)) for _ in range(count)]
        raw = self._take(count * least, plain(key))
        return list(np.frombuffer(raw, NUMBERS[kind]).tolist())

    def _entry(self) -> tuple[str, Tensor]:
        """A row of the table; its offset counts from the first tensor."""
        name = self._text("a tensor's name", MAX_NAME_BYTES)
        num_dimensions = self._number(4)
        if not 1 <= num_dimensions <= MAX_DIMENSIONS:
            raise self._damaged(f"tensor {name!r} has {num_dimensions} dimensions, need 1 to 4")
        shape = tuple(self._number(10) for _ in range(num_dimensions))[::-1]
        if not all(1 <= length <= MOST for length in shape):
            raise self._damaged(f"tensor {name!r} is {shape}, need 1 to {MOST} in each dimension")
        tensor = Tensor(self._format(name, self._number(4)), shape, self._number(10))
        block = tensor.format.block
        if len(shape) == 1 and block > 1:
            raise self._damaged(f"tensor {name!r} is a vector in {tensor.format.name}, need F32")
        if shape[-1] % block:
            raise self._damaged(
                f"tensor {name!r} is {shape} in {tensor.format.name}, "
                f"whose blocks need a multiple of {block}"
            )
        return name, tensor

    def _format(self, name: str, number: int) -> Format:
        if number in BLOCKS:
            return BLOCKS[number]
        kind = OTHERS.get(number, f"of block type {number}, which is newer than this release")
        raise BadInput(
            f"{self._path}: tensor {name!r} is {kind}, which export does not read; read are "
            f"{', '.join(format.name for format in BLOCKS.values())}: take the model in one of them"
        )

    def _placed(self, table: list[tuple[str, Tensor]], alignment: int) -> dict[str, Tensor]:
        """Tensors must follow one another without gap or overlap up to the end of the file."""
        start = -(-self._at // alignment) * alignment
        placed: dict[str, Tensor] = {}
        position = start
        for name, tensor in sorted(table, key=lambda entry: entry[1].offset):
            if name in placed:
                raise self._damaged(f"tensor {name!r} is there twice")
            if start + tensor.offset != position:
                raise self._damaged(
                    f"tensor {name!r} begins at byte {start + tensor.offset}, need {position}"
                )
            placed[name] = Tensor(tensor.format, tensor.shape, position)
            end = position + tensor.bytes
            if end > self._size:
                raise self._truncated(f"tensor {name!r} ends at byte {end}")
            position = -(-end // alignment) * alignment
        if self._size > max(position, start):
            raise self._damaged(f"its tensors end at byte {position}, the file has {self._size}")
        return placed

    def _check_count(self, count: int, most: int, what: str, least_bytes: int) -> None:
        if count > most:
            raise self._damaged(f"it claims {count} {what}; at most {most} are allowed")
        if count * least_bytes > self._size - self._at:
            raise self._truncated(f"it claims {count} {what}")

    def _number(self, kind: int) -> Any:
        dtype = np.dtype(NUMBERS[kind])
        return np.frombuffer(self._take(dtype.itemsize, "a number"), dtype)[0].item()

    def _text(self, what: str, most: int = MAX_HEADER_BYTES) -> str:
        length = self._number(10)
        if most < length <= self._size - self._at:
            raise self._damaged(f"{what} takes {length} bytes, need {most} at most")
        try:
            return self._take(length, what).decode()
        except UnicodeDecodeError as error:
            raise self._damaged(f"{what} has bytes that are not UTF-8") from error

    def _take(self, count: int, what: str) -> bytes:
        if count > self._size - self._at:
            raise self._truncated(f"{what} takes {count} bytes from byte {self._at} on")
        if self._at + count > MAX_HEADER_BYTES:
            raise self._damaged(
                f"{what} takes {count} bytes, and its metadata more than {MAX_HEADER_BYTES}"
            )
        raw = self._file.read(count)
        if len(raw) < count:  # the file became shorter while it was read
            raise self._truncated(f"{what} takes {count} bytes from byte {self._at} on")
        self._at += count
        return raw

    def _truncated(self, told: str) -> BadInput:
        return BadInput(
            f"{self._path} is truncated: {told}, the file has {self._size}; download it again"
        )

    def _damaged(self, told: str) -> BadInput:
        return BadInput(f"{self._path} is damaged: {told}; download it again")

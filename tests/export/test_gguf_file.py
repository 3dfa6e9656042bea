"""The container: broken and hostile files get one sentence with their name, in bounded memory."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from bramble.errors import BadInput
from bramble.export.gguf import read_container

from tests.export.gguf_files import GgufFile, converted, text, typed
from tests.export.test_api import GOLDEN

HUGE = 1 << 60
MAX_PEAK_BYTES = 20_000_000  # of what is refused, where honest files of that size take 2


def head(num_tensors: int, num_keys: int, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_keys)


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def array(kind: int, count: int) -> bytes:
    return key("a", 9, struct.pack("<IQ", kind, count))


def entry(shape: tuple[int, ...], kind: int = 0, offset: int = 0, name: str = "t") -> bytes:
    """A row of the table, its dimensions in the file's order."""
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


def one(row: bytes) -> bytes:
    return head(1, 0) + row + bytes(64)


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is truncated"),
    "magic alone": (b"GGUF", "is truncated"),
    "another file": (b"PK\3\4 and more", "is not a GGUF file"),
    "a web page": (b"<!DOCTYPE html>", "is not a GGUF file"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1", "pointer of Git LFS"),
    "version 1": (head(0, 0, 1), "GGUF of version 1;"),
    "version 9": (head(0, 0, 9), "GGUF of version 9;"),
    "big-endian": (b"GGUF\0\0\0\3" + bytes(16), "version 3 for big-endian processors"),
    "2^60 tensors": (head(HUGE, 0), f"claims {HUGE} tensors"),
    "2^60 keys": (head(0, HUGE), f"claims {HUGE} keys"),
    "60000 tensors": (head(60_000, 0), "it claims 60000 tensors"),
    "60000 keys": (head(0, 60_000), "it claims 60000 keys"),
    "a long key": (head(0, 1) + struct.pack("<Q", HUGE) + bytes(20), f"takes {HUGE} bytes"),
    "a long text": (head(0, 1) + key("a", 8, struct.pack("<Q", 1 << 34)), "takes 17179869184"),
    "a long array": (head(0, 1) + array(4, HUGE), f"claims {HUGE} entries"),
    "a long array of texts": (head(0, 1) + array(8, 1_000_000), "claims 1000000 entries"),
    "arrays of arrays": (head(0, 1) + array(9, 1) + bytes(99), "is an array of arrays"),
    "an array of nothing": (head(0, 1) + array(77, 1) + bytes(99), "is an array of type 77"),
    "an unknown type": (head(0, 1) + key("a", 13, bytes(8)), "is of type 13"),
    "a key twice": (head(0, 2) + (text("a") + typed(1)) * 2, "its key a is there twice"),
    "no UTF-8": (head(0, 1) + struct.pack("<Q", 1) + b"\xff" + bytes(12), "not UTF-8"),
    "no alignment": (
        head(0, 1) + text("general.alignment") + typed(24),
        "general.alignment is 24, need a power of two",
    ),
    "no dimensions": (one(entry(())), "has 0 dimensions"),
    "many dimensions": (one(entry((1, 1, 1, 1, 1))), "has 5 dimensions"),
    "a dimension of 0": (one(entry((0,))), "need 1 to"),
    "a dimension of 2^60": (one(entry((HUGE,))), "need 1 to"),
    "a large tensor": (one(entry((1 << 30, 1 << 30))), "is truncated: tensor 't' ends at byte"),
    "an unknown block type": (one(entry((32,), 99)), "'t' is of block type 99, which is newer"),
    "a type not read": (one(entry((256, 1), 10)), "'t' is Q2_K, which export does not read"),
    "broken blocks": (one(entry((33, 1), 2)), "'t' is .* in Q4_0, whose blocks need a multiple"),
    "a vector of blocks": (one(entry((32,), 2)), "'t' is a vector in Q4_0"),
    "a gap": (one(entry((8,), 0, 32)), "'t' begins at byte 96, need 64"),
    "an offset of 2^60": (one(entry((8,), 0, HUGE)), "'t' begins at byte"),
    "one place for two": (
        head(2, 0) + entry((8,)) + entry((8,), name="u") + bytes(64),
        "'u' begins at byte",
    ),
    "a name twice": (head(2, 0) + entry((8,)) + entry((8,), 0, 32) + bytes(80), "there twice"),
    "bytes behind": (one(entry((8,))) + bytes(100), "its tensors end at byte 96, the file has"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_gets_one_sentence_in_bounded_memory(tmp_path: Path, case: str) -> None:
    content, sentence = HOSTILE[case]
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(BadInput, match=sentence) as caught:
            read_container(path)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert peak_bytes < MAX_PEAK_BYTES


def test_a_sparse_file_of_a_terabyte_costs_no_memory(tmp_path: Path) -> None:
    """Counts that the file's length allows are still more than any model has."""
    for content in (array(8, 1 << 36), key("a", 8, struct.pack("<Q", 1 << 36)), array(0, 1 << 36)):
        path = tmp_path / "m.gguf"
        with path.open("wb") as file:
            file.write(head(0, 1) + content)
            file.truncate(1 << 40)
        with pytest.raises(BadInput, match="is damaged"):
            read_container(path)


@pytest.fixture(scope="module")
def whole() -> bytes:
    return converted(GOLDEN / "llama3", "Q4_0")[0].bytes()


def test_a_file_that_is_cut_short_anywhere_says_so(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "m.gguf"
    for length in [*range(0, 2000, 37), *range(2000, len(whole) - 32, 4999)]:
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match="is truncated"):
            read_container(path)


@pytest.mark.parametrize("version", [2, 3])
def test_metadata_and_tensors_are_what_was_written(tmp_path: Path, version: int) -> None:
    metadata = {"a": 7, "b": -0.5, "c": True, "d": "é", "e": ["x", ""], "f": [1, -2], "g": [0.5]}
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    tensors = {"t": ("F32", (3, 4), table.tobytes()), "u": ("F16", (5,), bytes(10))}
    file = GgufFile(metadata, tensors, version)
    found = read_container(file.write(tmp_path / "m.gguf"))
    assert found.metadata == metadata
    assert {name: tensor.shape for name, tensor in found.tensors.items()} == {
        "t": (3, 4),
        "u": (5,),
    }
    raw = file.bytes()[found.tensors["t"].offset :][: found.tensors["t"].bytes]
    assert raw == table.tobytes()

"""The reader of weights: what it reads is what the library wrote, and it names what is broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from bramble.errors import BadInput
from bramble.export.safetensors import Checkpoint, to_float32
from safetensors.numpy import save_file


def write(folder: Path, **tensors: np.ndarray) -> Path:
    path = folder / "model.safetensors"
    save_file(tensors, path)
    return path


def write_raw(folder: Path, header: object, body: bytes) -> None:
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_rows_are_what_the_library_wrote(tmp_path: Path, dtype: str) -> None:
    table = np.random.default_rng(0).standard_normal((7, 5)).astype(dtype)
    write(tmp_path, first=np.ones(3, np.float32), table=table)
    rows = Checkpoint(tmp_path).rows("table", 2, 6)
    np.testing.assert_array_equal(rows, table[2:6].astype(np.float32))


def test_bfloat16_is_the_upper_half_of_a_float32() -> None:
    exact = np.array([1.5, -0.0078125, 3e38, 0], np.float32)
    exact = (exact.view(np.uint32) & 0xFFFF0000).view(np.float32)
    halves = bytearray((exact.view(np.uint32) >> 16).astype("<u2").tobytes())
    np.testing.assert_array_equal(to_float32(halves, "BF16"), exact)


@pytest.mark.parametrize("kept", [4, 60, -1])
def test_a_truncated_file_says_what_was_promised(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path, table=np.ones((4, 4), np.float32))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(BadInput, match=r"is truncated: header promises \d+ bytes, file has \d+;"):
        Checkpoint(tmp_path)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"<!DOCTYPE html><html></html>\n")
    with pytest.raises(BadInput, match="not a safetensors file"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("offsets", [[4, 12], [0, 4]])
def test_gaps_and_wrong_sizes_are_refused(tmp_path: Path, offsets: list[int]) -> None:
    write_raw(tmp_path, {"a": {"dtype": "F32", "shape": [2], "data_offsets": offsets}}, bytes(12))
    with pytest.raises(BadInput, match=r"overlaps|need 8"):
        Checkpoint(tmp_path)


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    write_raw(tmp_path, {"a": one, "b": one | {"data_offsets": [4, 12]}}, bytes(12))
    with pytest.raises(BadInput, match="overlaps"):
        Checkpoint(tmp_path)


def test_a_missing_shard_of_several_is_named(tmp_path: Path) -> None:
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(BadInput, match=r"model-1\.safetensors is missing \(2 of 2"):
        Checkpoint(tmp_path)


def test_eight_bit_floats_are_refused_by_name(tmp_path: Path) -> None:
    entry = {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}
    write_raw(tmp_path, {"a": entry}, bytes(4))
    with pytest.raises(BadInput, match="F8_E4M3"):
        Checkpoint(tmp_path).rows("a", 0, 4)


ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "entry",
    [
        *(None, 5, [], {}, "F32"),
        *(ONE | {"dtype": value} for value in (None, 5, "", ["F32"])),
        *(ONE | {"shape": value} for value in (None, 2, "2", [-2], [2.0], [True], [None], ["2"])),
        *(ONE | {"data_offsets": value} for value in (None, 8, [0], [0, 8, 8], [0, "8"], [-8, 0])),
    ],
)
def test_a_malformed_entry_is_refused_by_its_tensors_name(tmp_path: Path, entry: object) -> None:
    write_raw(tmp_path, {"a.weight": entry}, bytes(8))
    with pytest.raises(BadInput, match=r"tensor 'a\.weight' is malformed; download it again"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("header", [None, [], "a", 5])
def test_a_header_that_is_no_table_is_refused(tmp_path: Path, header: object) -> None:
    write_raw(tmp_path, header, b"")
    with pytest.raises(BadInput, match="no table of tensors"):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_header_that_is_no_json_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(BadInput, match=r"header is not JSON|no table of tensors"):
        Checkpoint(tmp_path)


def test_bytes_behind_the_last_tensor_are_refused(tmp_path: Path) -> None:
    write_raw(tmp_path, {"a": ONE}, bytes(12))
    with pytest.raises(BadInput, match="it is damaged"):
        Checkpoint(tmp_path)


def test_double_precision_is_told_what_to_save_instead(tmp_path: Path) -> None:
    write(tmp_path, table=np.ones((4, 4)))
    with pytest.raises(BadInput, match="'table' is F64; read are F32, F16, BF16: save it as F32"):
        Checkpoint(tmp_path).shape("table")

"""Files are hashed once, and again as soon as anything about them differs."""

from __future__ import annotations

import os
import shutil

import pytest
from bramble.errors import BadShard
from bramble.model import manifest as manifests
from bramble.stage import proof

PARTS = ("embed", "layer-000")
NUM_FILES = 9  # a layer has its weights, and its graph whole and cut, for either kind of cache


@pytest.fixture
def folder(model, tmp_path, monkeypatch):
    """A copy of its own, old enough to be remembered at once."""
    monkeypatch.setattr(proof, "SETTLED_S", -3600.0)
    shutil.copytree(model("llama3", "int4"), tmp_path / "model")
    return tmp_path / "model"


def hashed(folder, place, is_suspect=False) -> int:
    """How many files were hashed."""
    calls = []
    manifest = manifests.read(folder)
    proof.verify(folder, manifest, PARTS, place, lambda: calls.append(1), is_suspect)
    return len(calls)


def damage(path) -> None:
    """Flip a bit and put the time of writing back."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_what_was_found_good_is_not_hashed_again(folder, tmp_path):
    assert [hashed(folder, tmp_path / "kept") for _ in range(3)] == [NUM_FILES, 0, 0]


def test_what_is_suspect_is_hashed_though_it_was_found_good(folder, tmp_path):
    kept = tmp_path / "kept"
    assert [hashed(folder, kept, suspect) for suspect in (False, True, False)] == [
        NUM_FILES,
        NUM_FILES,
        0,
    ]


def test_without_a_place_every_start_hashes(folder):
    assert [hashed(folder, None) for _ in range(2)] == [NUM_FILES, NUM_FILES]


def test_a_damaged_file_is_refused_though_its_length_and_time_are_as_before(folder, tmp_path):
    hashed(folder, tmp_path / "kept")
    damage(folder / "shards" / "layer-000.data")
    for _ in range(2):
        with pytest.raises(BadShard, match=r"layer-000\.data: got sha256"):
            hashed(folder, tmp_path / "kept")


def test_a_file_that_was_put_in_anothers_place_is_hashed(folder, tmp_path):
    hashed(folder, tmp_path / "kept")
    path = folder / "shards" / "embed.data"
    shutil.copy2(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    assert hashed(folder, tmp_path / "kept") == 1


def test_a_manifest_that_expects_other_bytes_has_them_hashed(folder, tmp_path):
    hashed(folder, tmp_path / "kept")
    text = (folder / "manifest.json").read_text()
    sha = manifests.read(folder).files["shards/embed.data"].sha256
    (folder / "manifest.json").write_text(text.replace(sha, "0" * 64))
    with pytest.raises(BadShard, match=r"embed\.data"):
        hashed(folder, tmp_path / "kept")


def test_a_file_that_has_just_changed_is_not_remembered(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(proof, "SETTLED_S", 3600.0)
    assert [hashed(folder, tmp_path / "kept") for _ in range(2)] == [NUM_FILES, NUM_FILES]


def test_a_list_that_cannot_be_read_costs_time_and_nothing_else(folder, tmp_path):
    kept = tmp_path / "kept"
    hashed(folder, kept)
    (kept / proof.FILE_NAME).write_text("half a li")
    assert [hashed(folder, kept) for _ in range(2)] == [NUM_FILES, 0]


def test_a_place_that_cannot_be_written_costs_time_and_nothing_else(folder, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    assert [hashed(folder, tmp_path / "file") for _ in range(2)] == [NUM_FILES, NUM_FILES]
    assert "not_kept" in caplog.text

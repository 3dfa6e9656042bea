"""Files are hashed once, and again as soon as anything about them differs."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from bramble.errors import BadShard
from bramble.model import manifest as manifests
from bramble.stage import proof

PARTS = ("embed", "layer-000")
NUM_FILES = 10  # weights, the graph whole and cut for each kind of cache, one of them all layers'


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
    proofs = proof.Proofs(place)
    proof.verify(folder, manifest, PARTS, proofs, lambda: calls.append(1), is_suspect)
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
    text = text.replace(json.loads(text)["seal"], "")
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


def prove(proofs, folder, this_boot=True):
    manifest = manifests.read(folder)
    calls = []
    name = "shards/embed.data"
    proofs.prove(folder, name, manifest.files[name], this_boot, alive=lambda: calls.append(1))
    return len(calls)


def test_what_serves_is_hashed_once_after_each_boot(folder, tmp_path, monkeypatch):
    (tmp_path / "boot").write_text("one\n")
    monkeypatch.setattr(proof, "BOOT_ID", tmp_path / "boot")

    def start():
        proofs = proof.Proofs(tmp_path / "kept")
        count = prove(proofs, folder)
        proofs.save()
        return count

    assert [start(), start()] == [1, 0]
    (tmp_path / "boot").write_text("two\n")
    assert [start(), start()] == [1, 0]
    (tmp_path / "boot").unlink()  # not told: any start may be behind a boot
    assert [start(), start()] == [1, 1]


def test_a_file_that_was_refused_is_not_read_again_until_it_changes(folder):
    proofs = proof.Proofs(None)
    path = folder / "shards" / "embed.data"
    right = path.read_bytes()
    damage(path)
    for _ in range(2):
        with pytest.raises(BadShard, match="got sha256"):
            prove(proofs, folder)
    path.chmod(0)
    path.chmod(0o600)
    path.write_bytes(right)
    assert [prove(proofs, folder), prove(proofs, folder)] == [1, 0]


def test_what_was_found_good_is_kept_when_another_file_is_damaged(folder, tmp_path):
    damage(folder / "shards" / "layer-000.data")
    with pytest.raises(BadShard):
        hashed(folder, tmp_path / "kept")
    shutil.copy2(folder / "shards" / "layer-000.data", tmp_path / "right")
    damage(folder / "shards" / "layer-000.data")  # flips it back
    assert hashed(folder, tmp_path / "kept") == 1


def test_a_list_of_which_one_bit_has_changed_is_not_believed(folder, tmp_path, caplog):
    kept = tmp_path / "kept"
    hashed(folder, kept)
    path = kept / proof.FILE_NAME
    whole = path.read_bytes()
    for at in range(0, len(whole), 97):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert hashed(folder, kept) in (0, NUM_FILES)  # 0: a blank between two words
    assert "reason=damaged" in caplog.text


def test_two_stages_of_a_node_keep_what_both_have_found(folder, tmp_path):
    one, two = proof.Proofs(tmp_path / "kept"), proof.Proofs(tmp_path / "kept")
    manifest = manifests.read(folder)
    for proofs, name in ((one, "shards/embed.data"), (two, "shards/layer-000.data")):
        proofs.prove(folder, name, manifest.files[name], this_boot=True)
        proofs.save()
    assert hashed(folder, tmp_path / "kept") == NUM_FILES - 2

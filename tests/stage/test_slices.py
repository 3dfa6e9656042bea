"""A member's slices on disk: made once by a process, proven, made anew where they are damaged."""

from __future__ import annotations

import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bramble.errors import BadInput, BadShard
from bramble.model import kept
from bramble.model import manifest as manifests
from bramble.model import slices as documents
from bramble.model.share import Share
from bramble.stage.engine import Engine
from bramble.stage.proof import Proofs
from bramble.stage.slices import LOCK, MAX_KEPT, SliceFolders, are_made
from groups import GroupLogits, Table, Threads, cut, shares
from ring import Logits, assign

TOKENS = [7, 9, 30, 4, 11, 50, 51, 3]


@pytest.fixture
def half(model):
    """A model folder, its manifest, and half of each of its layers."""
    folder = model("llama3", "int4")
    manifest = manifests.read(folder)
    whole = Share.whole(manifest.shape, 0, 2, True, False)
    return folder, manifest, shares(manifest.shape, (1, 1), 32, whole)[0]


def folders(half, root) -> SliceFolders:
    folder, manifest, _ = half
    return SliceFolders(root, folder, manifest, Proofs(None))


def test_a_process_makes_what_is_lacking_and_it_is_kept(half, tmp_path):
    beats = []
    place, made = folders(half, tmp_path).find(half[2], lambda: beats.append(1))
    assert len(beats) > 1
    times = {path: path.stat().st_mtime_ns for path in place.iterdir()}
    again, found = folders(half, tmp_path).find(half[2], lambda: None)
    assert (again, found) == (place, made)
    assert {path: path.stat().st_mtime_ns for path in place.iterdir()} == times
    by_hand = cut(*half, tmp_path / "other")
    for path in place.iterdir():
        assert path.read_bytes() == (by_hand / path.name).read_bytes()


def test_without_a_place_a_member_keeps_nothing(model, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = model("llama3", "int4")
    group = GroupLogits(folder)
    assert list(tmp_path.iterdir()) == []
    want = Logits(folder).prefill_logits(TOKENS)
    np.testing.assert_allclose(group.prefill_logits(TOKENS), want, rtol=0, atol=2e-5)
    assert not any("slices" in str(path) for path in group.groups[0][0].files)


@pytest.mark.parametrize("how", ["altered", "short", "gone"])
def test_damaged_slices_are_made_anew_before_they_serve(how, model, tmp_path):
    folder = model("llama3", "int4")
    want = GroupLogits(folder, root=tmp_path).prefill_logits(TOKENS)
    for place in (tmp_path / "slices").glob("llama3-*[0-9a-f]"):
        shutil.rmtree(place / "packed")
        damage(place / "layer-001.data", how)
    again = GroupLogits(folder, root=tmp_path)
    np.testing.assert_array_equal(again.prefill_logits(TOKENS), want)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-700] if how == "short" else data)


def test_a_damaged_model_is_told_and_nothing_is_cut_of_it(half, tmp_path):
    folder, manifest, share = half
    copied = tmp_path / "model"
    shutil.copytree(folder, copied)
    damage(copied / manifest.part("layer-001").data[0], "altered")
    with pytest.raises(BadShard, match=r"layer-001\.data: got sha256"):
        SliceFolders(tmp_path, copied, manifest, Proofs(None)).find(share, lambda: None)
    assert not list((tmp_path / "slices").glob("*/slices.json"))


def test_members_that_make_the_same_slices_at_once_make_them_once(half, tmp_path):
    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(folders(half, tmp_path).find, half[2], lambda: None) for _ in range(3)]
        places = {task.result()[0] for task in tasks}
    assert len(places) == 1
    assert [p.name for p in (tmp_path / "slices").glob("*partial*")] == []


def test_room_is_made_of_slices_that_nobody_uses(half, tmp_path):
    folder, manifest, share = half
    others = shares(manifest.shape, (1, 1), 32, Share.whole(manifest.shape, 0, 1, True, False))
    used, unused = (cut(folder, manifest, other, tmp_path) for other in others)
    user, finder = folders(half, tmp_path), folders(half, tmp_path)
    user.find(others[0], lambda: None)
    folders(half, tmp_path).find(others[1], lambda: None)  # gone again
    mine = cut(folder, manifest, share, tmp_path)
    finder.find(share, lambda: None)
    finder._make_room(mine, 1 << 62)
    assert (used.exists(), unused.exists(), mine.exists()) == (True, False, True)
    user.close()
    finder._make_room(mine, 1 << 62)
    assert (used.exists(), mine.exists()) == (False, True)


def test_of_former_plans_some_are_kept(half, tmp_path):
    folder, manifest, share = half
    made = []
    for index in range(MAX_KEPT + 2):
        other = replace(share, stop=1, vocab=(0, index + 1))
        made.append(cut(folder, manifest, other, tmp_path))
        folders(half, tmp_path).find(other, lambda: None)
        os.utime(made[-1].with_name(made[-1].name + LOCK), (index, index))
    folders(half, tmp_path)._make_room(made[-1], 0)
    assert [place.exists() for place in made] == [False] * 2 + [True] * MAX_KEPT


def test_a_part_of_a_layer_is_nothing_without_a_group(half):
    folder, manifest, share = half
    with pytest.raises(BadInput, match="without a group that has the others"):
        Engine(folder, manifest, assign(manifest, share=share), 1)


def test_a_share_that_cannot_be_cut_is_refused_before_anything_is_loaded(half, tmp_path):
    folder, manifest, share = half
    odd = assign(manifest, share=replace(share, columns=(0, 40)))
    with pytest.raises(BadInput, match="columns 0:40 were assigned; int4 weights are cut in whole"):
        Engine(folder, manifest, odd, 1, tmp_path, exchange=Threads(Table(2), 0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["altered", "short", "gone", "of another form"])
def test_slices_whose_document_says_nothing_are_made_anew(how, half, tmp_path):
    place = cut(*half, tmp_path)
    document = place / documents.FILE_NAME
    if how == "of another form":
        kept.write(document, kept.read(document) | {"format": 0})
    else:
        damage(document, how)
    assert documents.read(place) is None
    _, found = folders(half, tmp_path).find(half[2], lambda: None)
    assert set(found.files) <= {path.name for path in place.iterdir()}


def test_what_killed_stages_left_half_made_is_removed(half, tmp_path):
    place, _ = folders(half, tmp_path).find(half[2], lambda: None)
    shutil.rmtree(place)
    left = [place.with_name(name) for name in (f"{place.name}.1.partial", "other-0.2.partial")]
    for each in left:
        each.mkdir()
    folders(half, tmp_path).find(half[2], lambda: None)
    assert not any(each.exists() for each in left)


def test_it_is_known_beforehand_whether_slices_have_to_be_cut(half, tmp_path):
    _, manifest, share = half
    assert not are_made(None, manifest, share) and not are_made(tmp_path, manifest, share)
    folders(half, tmp_path).find(share, lambda: None)
    assert are_made(tmp_path, manifest, share)

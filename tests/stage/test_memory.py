"""Pages that loading read are given back; pages that something wrote to stay."""

from __future__ import annotations

import mmap

from bramble.stage import memory

SIZE = 1 << 20


def resident(path) -> int:
    """Bytes of this process's mappings of `path` that are in memory."""
    found, is_here = 0, False
    for line in memory.SMAPS.read_text().splitlines():
        if not line.split()[0].endswith(":"):
            is_here = line.endswith(str(path))
        elif is_here and line.startswith("Rss:"):
            found += int(line.split()[1]) << 10
    return found


def mapped(path) -> mmap.mmap:
    """The file mapped privately and read whole."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"w" * SIZE)
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
    assert sum(mapping[::4096]) == SIZE // 4096 * ord("w")
    return mapping


def test_what_was_only_read_is_given_back_and_comes_back(tmp_path):
    path = tmp_path / "packed" / "layer.data"
    mapping = mapped(path)
    assert resident(path) == SIZE
    memory.release(tmp_path / "packed")
    assert resident(path) == 0
    assert mapping[:] == b"w" * SIZE


def test_what_was_written_stays(tmp_path):
    mapping = mapped(tmp_path / "packed" / "layer.data")
    mapping[5] = ord("x")
    memory.release(tmp_path / "packed")
    assert mapping[5] == ord("x")


def test_other_folders_are_left_alone(tmp_path):
    path = tmp_path / "packed-not" / "layer.data"
    mapping = mapped(path)
    memory.release(tmp_path / "packed")
    assert resident(path) == SIZE
    mapping.close()


def test_a_kernel_that_does_not_tell_costs_memory_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "packed" / "layer.data"
    mapping = mapped(path)
    before = resident(path)
    with monkeypatch.context() as patch:
        patch.setattr(memory, "SMAPS", tmp_path / "smaps")
        memory.release(tmp_path / "packed")
    assert resident(path) == before == SIZE
    mapping.close()

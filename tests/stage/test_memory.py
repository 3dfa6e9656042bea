"""Memory that is not needed is not kept: pages that loading read, freed heap, a heap per thread."""

from __future__ import annotations

import mmap
import subprocess
import sys
from pathlib import Path

import pytest
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


HEAPS = """
import ctypes, sys, threading
from bramble.stage import memory
if sys.argv[1] == "shared":
    memory.share_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
together = threading.Barrier(4)
def allocate():
    together.wait()
    libc.free(ctypes.c_void_p(libc.malloc(10_000)))
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(4)]
[thread.start() for thread in threads], [thread.join() for thread in threads]
file = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, file), libc.fflush(file)
"""


@pytest.mark.parametrize(("how", "is_one"), [("shared", True), ("apart", False)])
def test_threads_share_one_heap(how, is_one):
    command = [sys.executable, "-c", HEAPS, how]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (told.count("<heap nr=") == 1) is is_one


def test_freed_heap_goes_back_to_the_system():
    pieces = [bytearray(50_000) for _ in range(1000)]
    last = bytearray(50_000)  # above them, so that the heap's end stays
    full = heap_bytes()
    del pieces
    memory.trim()
    assert heap_bytes() < full - 40_000_000
    assert len(last) == 50_000


def heap_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) << 10

"""Takes no more memory than running needs, and gives back the rest. Of glibc and Linux only."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SMAPS = Path("/proc/self/smaps")
M_ARENA_MAX = -8  # malloc.h


def share_heap() -> None:
    """Have threads that start from now on share the heaps there are: before any, so that it is one.

    Each would have one of its own, and keep there what was freed.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_ARENA_MAX, 1)


def trim() -> None:
    """Return freed heap to the system."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def release(folder: Path | None) -> None:
    """Trim, and unmap pages of files below `folder` that were read.

    Loading reads original weights that packed ones replace. Only clean pages are dropped, of
    mappings that nothing wrote to: what is needed again comes back from the page cache.
    """
    trim()
    if folder is None or not SMAPS.exists():  # a kernel without CONFIG_PROC_PAGE_MONITOR
        return
    libc = ctypes.CDLL(None)
    for start, stop in _clean_mappings(SMAPS.read_text(encoding="utf-8"), str(folder.resolve())):
        libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_DONTNEED)


def resident(descriptor: int, size: int) -> bytes:
    """Return a byte for each page of an open file, odd if the page is in memory (mincore(2)).

    Where the system does not tell, all are.
    """
    page_bytes = mmap.PAGESIZE
    num_pages = -(-size // page_bytes)
    if not size:
        return b""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        return b"\1" * num_pages
    flags = ctypes.create_string_buffer(num_pages)
    try:
        told = libc.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), flags)
    finally:
        libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
    return flags.raw if told == 0 else b"\1" * num_pages


def evict(path: Path) -> None:
    """Have the next reader of a file get it from the disk. Pages that somebody maps stay."""
    with suppress(OSError), opened(path) as descriptor:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor to read with; whatever lies there, opening it does not block."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _clean_mappings(smaps: str, folder: str) -> list[tuple[int, int]]:
    """Mappings of files below `folder` without a page of their own (smaps: proc(5))."""
    found: list[tuple[int, int]] = []
    here: tuple[int, int] | None = None
    for line in smaps.splitlines():
        fields = line.split(maxsplit=5)
        if not fields[0].endswith(":"):
            is_below = len(fields) == 6 and fields[5].startswith(f"{folder}/")
            start, _, stop = fields[0].partition("-")
            here = (int(start, 16), int(stop, 16)) if is_below else None
        elif fields[0] == "Anonymous:" and here is not None and fields[1] == "0":
            found.append(here)
    return found

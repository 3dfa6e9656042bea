"""Files on their way to nodes: read in large pieces, and only so many at once."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

from bramble.errors import Unavailable

MAX_TRANSFERS = 8  # each holds a thread; one node fetches one file at a time
RETRY_AFTER_S = 2
CHUNK_BYTES = 1 << 20


class Transfers:
    def __init__(self) -> None:
        self._free = threading.BoundedSemaphore(MAX_TRANSFERS)

    def open(self, path: Path) -> Transfer:
        """Open a file in one of the places. Raises Unavailable when there is none, or no file."""
        if not self._free.acquire(blocking=False):
            raise Unavailable(
                f"{MAX_TRANSFERS} files are on their way already; retry later", RETRY_AFTER_S
            )
        try:
            return Transfer(path, self._free)
        except OSError as error:
            self._free.release()
            raise Unavailable(f"the file is gone: {error.strerror}; retry later") from error


class Transfer:
    """The pieces of one open file; `close` gives its place back, read or not."""

    def __init__(self, path: Path, place: threading.Semaphore) -> None:
        self._file = path.open("rb", buffering=0)
        self._place = place
        self.size = os.fstat(self._file.fileno()).st_size

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if piece := self._file.read(CHUNK_BYTES):
            return piece
        raise StopIteration

    def seekable(self) -> bool:  # with these three werkzeug begins in mid-file without reading
        return True

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self._file.closed:
            self._file.close()
            self._place.release()

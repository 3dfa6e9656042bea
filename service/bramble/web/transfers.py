"""Files on their way to nodes: read in large pieces, and only so many at once."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bramble.errors import Unavailable
from bramble.web.visitors import is_loopback

MAX_TRANSFERS = 8  # each holds a thread; one node fetches one file at a time
MAX_OF_ADDRESS = 4  # so that one node leaves places for others, however slowly it reads
RETRY_AFTER_S = 2
CHUNK_BYTES = 1 << 20


class Transfers:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._addresses: Counter[str] = Counter()  # of the files on their way

    def open(self, path: Path, address: str) -> Transfer:
        """Open a file in one of the places. Raises Unavailable when there is none, or no file."""
        with self._lock:
            is_crowded = self._addresses[address] >= MAX_OF_ADDRESS and not is_loopback(address)
            if is_crowded or self._addresses.total() >= MAX_TRANSFERS:
                limit = f"{MAX_OF_ADDRESS} to your address" if is_crowded else str(MAX_TRANSFERS)
                raise Unavailable(
                    f"files are on their way already, and {limit} may be; retry later",
                    RETRY_AFTER_S,
                )
            self._addresses[address] += 1
        try:
            return Transfer(path, partial(self._release, address))
        except OSError as error:
            self._release(address)
            raise Unavailable(f"the file is gone: {error.strerror}; retry later") from error

    def _release(self, address: str) -> None:
        with self._lock:
            self._addresses[address] -= 1
            self._addresses += Counter()  # forgets who has none


class Transfer:
    """The pieces of one open file; `close` gives its place back, read or not."""

    def __init__(self, path: Path, release: Callable[[], None]) -> None:
        self._file = path.open("rb", buffering=0)
        self._release = release
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
            self._release()

"""Reads again and again, beside all else, what a stage computes with, and says what has changed.

Weights are mapped: their pages are the system's, which drops them and reads them from the card
again, and memory may alter them. A pass looks at the pages that are in memory now and compares them
with what they were when the whole file had its sha256. Other files of the model are only watched
and, now and then, hashed. It knows files, not models or messages.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bramble.model.manifest import File
from bramble.stage.memory import evict, opened, resident
from bramble.stage.proof import Mark, Proofs, stamp

log = logging.getLogger(__name__)

NEVER = float("-inf")
PIECE_BYTES = 1 << 20

Stamp = Callable[[Path], Mark | None]


@dataclass(frozen=True, slots=True)
class Pace:
    """What was altered serves for `pass_s` + `rest_s` at most; for `look_s` if it was written."""

    # Read in a second, for 1 % of a core; more where a pass would take longer than pass_s
    bytes_s: float = 25e6
    pass_s: float = 60.0
    rest_s: float = 20.0  # between two passes
    look_s: float = 1.0  # between looks at inodes, sizes and times
    others_s: float = 6 * 3600.0  # between hashes of files that nothing is computed with


@dataclass(slots=True)
class _Sheet:
    """What is known of one file."""

    path: Path
    file: File
    serves: bool
    mark: Mark | None
    pieces: list[int] = field(default_factory=list)  # CRC-32 of each; once the file was hashed here
    hashed_at: float = NEVER


class Scrub:
    """A thread of its own, from `begin` to `stop`; `wrong` may be asked at any time."""

    def __init__(self, proofs: Proofs, pace: Pace | None = None, stamp: Stamp = stamp) -> None:
        self._proofs, self._pace, self._stamp = proofs, pace or Pace(), stamp
        self._wrong: dict[Path, str] = {}
        self._sheets: list[_Sheet] = []
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._looked_at = 0.0
        self._owed_s = 0.0  # of waiting, for what was read

    def begin(self, serving: dict[Path, File], others: dict[Path, File]) -> None:
        """Watch these files instead of those before.

        serving  what is computed with; all of it was found good while it was loaded
        others   what is packed from, or sent to other nodes; hashed soon if it never was
        """
        self.stop()
        now = time.monotonic()
        self._wrong, self._stopped = {}, threading.Event()
        known = serving | others
        self._sheets = [
            _Sheet(
                path,
                file,
                path in serving,
                self._stamp(path),
                hashed_at=now if self._proofs.has(path, file) else NEVER,
            )
            for path, file in known.items()
        ]
        self._thread = threading.Thread(
            target=self._run, args=(self._stopped,), name="scrub", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End the thread: at once, but for a piece that it hashes."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wrong(self, serving: bool) -> dict[Path, str]:
        """Files that are not what they should be, and why: those that are computed with, or the
        others."""
        serve = {sheet.path: sheet.serves for sheet in self._sheets}
        return {path: why for path, why in dict(self._wrong).items() if serve[path] is serving}

    # ---------------------------------------------------------------------------- in its thread

    def _run(self, stopped: threading.Event) -> None:
        is_first = True
        while not stopped.is_set():
            started, count = time.monotonic(), 0
            for sheet in self._sheets:
                count += self._visit(sheet, stopped)
            if is_first and not stopped.is_set():
                is_first = False
                self._give_back()
                self._proofs.save()
                seconds = time.monotonic() - started
                log.info(
                    "event=scrubbed files=%d bytes=%d s=%.1f", len(self._sheets), count, seconds
                )
            self._rest(self._pace.rest_s, stopped)

    def _visit(self, sheet: _Sheet, stopped: threading.Event) -> int:
        """Look at one file in its turn; return how many bytes were read."""
        if stopped.is_set():
            return 0
        if not sheet.serves:
            if time.monotonic() - sheet.hashed_at > self._pace.others_s:
                return self._hash(sheet, stopped, is_slow=True)
            return 0
        if not sheet.pieces:
            return self._hash(sheet, stopped, is_slow=True)
        return self._compare(sheet, stopped)

    def _hash(self, sheet: _Sheet, stopped: threading.Event, is_slow: bool) -> int:
        """Hash a whole file, and remember its pieces if it is right."""
        mark = self._stamp(sheet.path)
        sheet.mark, sheet.hashed_at = mark, time.monotonic()
        for _ in range(2):  # a second time, as a board may also compute a hash wrong
            digest, pieces, count = hashlib.sha256(), [], 0
            try:
                with opened(sheet.path) as descriptor:
                    for offset, piece in _read(descriptor, sheet.file.bytes + 1):
                        digest.update(piece)
                        pieces.append(zlib.crc32(piece))
                        count += len(piece)
                        if not sheet.serves:
                            os.posix_fadvise(descriptor, offset, len(piece), os.POSIX_FADV_DONTNEED)
                        if is_slow:
                            self._pay(len(piece), stopped)
                        if stopped.is_set():
                            return count
            except FileNotFoundError:
                self._miss(sheet)
                return count
            except OSError as error:
                self._refuse(sheet, f"cannot be read: {error.strerror}")
                return count
            if self._stamp(sheet.path) != mark:  # it was written meanwhile
                sheet.mark = None
                return count
            if (digest.hexdigest(), count) == (sheet.file.sha256, sheet.file.bytes):
                sheet.pieces = pieces if sheet.serves else []
                if self._wrong.pop(sheet.path, None) is not None:
                    log.info("event=right_again file=%s", sheet.path)
                if mark is not None:
                    self._proofs.note(sheet.path, mark, sheet.file.sha256)
                return count
            evict(sheet.path)  # the card may have it right
        self._refuse(sheet, f"has sha256 {digest.hexdigest()}, expected {sheet.file.sha256}")
        return count

    def _compare(self, sheet: _Sheet, stopped: threading.Event) -> int:
        """Compare the pieces that are in memory with what they were."""
        count = 0
        try:
            with opened(sheet.path) as descriptor:
                pages, pieces = resident(descriptor, sheet.file.bytes), sheet.pieces
                for offset, piece in _read(descriptor, sheet.file.bytes, pages):
                    count += len(piece)
                    if pieces[offset // PIECE_BYTES] != zlib.crc32(piece):
                        return count + self._hash(sheet, stopped, is_slow=False)
                    self._pay(len(piece), stopped)
                    if stopped.is_set() or sheet.pieces is not pieces:  # hashed anew, or gone
                        break
        except FileNotFoundError:
            self._miss(sheet)
        except OSError as error:
            self._refuse(sheet, f"cannot be read: {error.strerror}")
        return count

    def _give_back(self) -> None:
        """Drop from memory what was read only to be hashed: a packed part has its original in it.

        Pages that are mapped, as all are that were computed with, stay.
        """
        for sheet in self._sheets:
            evict(sheet.path)

    def _miss(self, sheet: _Sheet) -> None:
        """A file is gone. What is mapped stays, so that a stage serves on with it."""
        sheet.pieces = []
        if not sheet.serves:
            self._refuse(sheet, "is missing")

    def _refuse(self, sheet: _Sheet, why: str) -> None:
        sheet.pieces = []
        self._proofs.forget(sheet.path)
        if self._wrong.get(sheet.path) != why:
            log.error("event=damaged file=%s reason=%r", sheet.path, why)
        self._wrong[sheet.path] = why

    # ------------------------------------------------------------------------------------- time

    def _pay(self, count: int, stopped: threading.Event) -> None:
        """Wait as long as so many bytes are to take."""
        total = sum(sheet.file.bytes for sheet in self._sheets if sheet.serves)
        self._rest(count / max(self._pace.bytes_s, total / self._pace.pass_s), stopped)

    def _rest(self, seconds: float, stopped: threading.Event) -> None:
        """Wait, and look whether a file was written meanwhile."""
        until = time.monotonic() + seconds
        while not stopped.is_set():
            now = time.monotonic()
            if now - self._looked_at >= self._pace.look_s:
                self._looked_at = now
                for sheet in self._sheets:
                    if self._stamp(sheet.path) != sheet.mark and not stopped.is_set():
                        self._hash(sheet, stopped, is_slow=False)
            if now >= until:
                return
            stopped.wait(min(until - now, self._pace.look_s))


def _read(
    descriptor: int, size: int, pages: bytes | None = None
) -> Iterator[tuple[int, memoryview]]:
    """Yield (offset, piece) of the first `size` bytes, each until the next is asked for.

    pages  a byte for each page, odd if the piece is wanted for it
    """
    buffer = memoryview(bytearray(PIECE_BYTES))
    per_piece = PIECE_BYTES // os.sysconf("SC_PAGE_SIZE")
    for offset in range(0, size, PIECE_BYTES):
        first = offset // PIECE_BYTES * per_piece
        if pages is not None and not any(page & 1 for page in pages[first : first + per_piece]):
            continue
        count = os.preadv(descriptor, [buffer[: min(PIECE_BYTES, size - offset)]], offset)
        if not count:
            return
        yield offset, buffer[:count]

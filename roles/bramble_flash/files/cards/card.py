"""Write a card image to a device so that a half-written card is never taken for a whole one.

The first MiB (the partition table is in it) holds a marker until all the rest was written and
read back: an interrupted card boots nowhere, and the next run knows it by the marker.
"""

from __future__ import annotations

import os
from pathlib import Path

from cards.device import open_exclusively
from cards.errors import Failed
from cards.progress import Progress

CHUNK_BYTES = 4 << 20
HEAD_BYTES = 1 << 20
SYNC_BYTES = 64 << 20  # keeps the bar honest: not gigabytes ahead of the card
MARKER = b"BRAMBLE: this card was not written to its end; write it again.\n"


def write_card(image: Path, device_path: str) -> bool:
    """Write and read back; returns whether an earlier interrupted write was found."""
    card = open_exclusively(device_path)
    try:
        was_interrupted = os.pread(card, len(MARKER), 0) == MARKER
        with image.open("rb") as file:
            _write(file.fileno(), card, image.stat().st_size)
            compare(file.fileno(), card, HEAD_BYTES)
            _put(card, os.pread(file.fileno(), HEAD_BYTES, 0), 0)
            _sync(card, 0)
            compare(file.fileno(), card, 0, HEAD_BYTES)
        return was_interrupted
    finally:
        os.close(card)


def compare(image: int, card: int, start: int, stop: int | None = None) -> None:
    """Read the card and raise Failed at the first byte that is not the image's."""
    size = os.fstat(image).st_size if stop is None else stop
    # Written pages would otherwise be read back from memory and not from the card.
    os.posix_fadvise(card, 0, 0, os.POSIX_FADV_DONTNEED)
    with Progress("reading back", size) as shown:
        for offset in range(start, size, CHUNK_BYTES):
            length = min(CHUNK_BYTES, size - offset)
            _compare_chunk(os.pread(image, length, offset), _get(card, length, offset), offset)
            shown.at(offset + length)


def _compare_chunk(wanted: bytes, found: bytes, offset: int) -> None:
    if wanted == found:
        return
    pairs = zip(wanted, found, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(wanted), len(found)))
    raise Failed(
        f"the card reads back otherwise than written, first at byte {offset + at}: "
        "it is worn or counterfeit, take another (this one will not boot)"
    )


def _write(image: int, card: int, size: int) -> None:
    parent = os.getppid()
    _put(card, MARKER.ljust(HEAD_BYTES, b"\0"), 0)
    _sync(card, 0)
    with Progress("writing", size) as shown:
        for offset in range(HEAD_BYTES, size, CHUNK_BYTES):
            if os.getppid() != parent:
                raise Failed("the play was stopped: the card is not finished and will not boot")
            _put(card, os.pread(image, min(CHUNK_BYTES, size - offset), offset), offset)
            if offset % SYNC_BYTES < CHUNK_BYTES:
                _sync(card, offset)
            shown.at(offset)
    _sync(card, size)


def _put(card: int, chunk: bytes, offset: int) -> None:
    try:
        while chunk:
            written = os.pwrite(card, chunk, offset)
            chunk, offset = chunk[written:], offset + written
    except OSError as error:
        raise _gone(offset, error) from error


def _get(card: int, length: int, offset: int) -> bytes:
    try:
        return os.pread(card, length, offset)
    except OSError as error:
        raise _gone(offset, error) from error


def _sync(card: int, offset: int) -> None:
    try:
        os.fsync(card)
    except OSError as error:
        raise _gone(offset, error) from error


def _gone(offset: int, error: OSError) -> Failed:
    return Failed(
        f"the card failed at {offset >> 20} MiB ({error.strerror}): pulled out or broken; "
        "it will not boot, put one in and run again: it starts anew"
    )

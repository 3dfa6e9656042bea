"""Where in a card image its FAT partition begins; from the MBR or the GPT, nothing mounted."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from cards.errors import Refused

SECTOR_BYTES = 512
MBR_FAT_TYPES = {0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E, 0xEF}
MBR_PROTECTIVE = 0xEE  # the partition table is a GPT
GPT_FAT_TYPES = {
    uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),  # EFI system
    uuid.UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"),  # Microsoft basic data
}


def fat_offset(image: Path) -> int:
    """Return the byte at which the first FAT partition of `image` begins."""
    with image.open("rb") as file:
        for start in _starts(file):
            if _is_fat(_read(file, start * SECTOR_BYTES, SECTOR_BYTES)):
                return start * SECTOR_BYTES
    raise Refused(f"{image} has no FAT partition: it is not a Raspberry Pi card image")


def _starts(file: BinaryIO) -> Iterator[int]:
    """Yield the first sectors of partitions that are marked as FAT."""
    mbr = _read(file, 0, SECTOR_BYTES)
    if mbr[510:] != b"\x55\xaa":
        return
    for entry in range(446, 510, 16):
        kind, start = mbr[entry + 4], struct.unpack_from("<I", mbr, entry + 8)[0]
        if kind == MBR_PROTECTIVE:
            yield from _gpt_starts(file)
        elif kind in MBR_FAT_TYPES and start:
            yield start


def _gpt_starts(file: BinaryIO) -> Iterator[int]:
    header = _read(file, SECTOR_BYTES, SECTOR_BYTES)
    if header[:8] != b"EFI PART":
        return
    table, number, size = struct.unpack_from("<QII", header, 72)
    for index in range(min(number, 128)):
        entry = _read(file, table * SECTOR_BYTES + index * size, 40)
        if len(entry) == 40 and uuid.UUID(bytes_le=entry[:16]) in GPT_FAT_TYPES:
            yield struct.unpack_from("<Q", entry, 32)[0]


def _is_fat(boot_sector: bytes) -> bool:
    return boot_sector[510:] == b"\x55\xaa" and b"FAT" in (boot_sector[54:59] + boot_sector[82:87])


def _read(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)

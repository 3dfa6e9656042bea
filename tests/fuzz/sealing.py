"""Frames made of a fuzzer's bytes: as they are, or with all put right that is checked first."""

from __future__ import annotations

import struct
import zlib

from bramble.wire import frames


def cut(data: bytes) -> list[bytes]:
    """One frame or two. The first byte says where the first one ends: so many fours behind the
    second byte, or above 127 at the end."""
    end = len(data) if not data or data[0] >= 128 else 2 + 4 * data[0]
    return [data[1:end], data[end:]] if end < len(data) else [data[1:]]


def sealed(data: bytes) -> list[bytes]:
    """Frames as `cut` makes them, with magic, version, lengths and checksum as they should be.

    The first byte of the first frame is the message's kind, the others its body.
    """
    first, *others = cut(data)
    kind, body = (first[0], first[1:]) if first else (0, b"")
    start = struct.pack("<4sBBH", frames.MAGIC, frames.VERSION, kind, len(others))
    length = frames.BODY + len(body)
    crc = zlib.crc32(body, zlib.crc32(length.to_bytes(4, "little"), zlib.crc32(start)))
    for frame in others:
        crc = zlib.crc32(frame, crc)
    return [start + struct.pack("<II", crc, length) + body, *others]

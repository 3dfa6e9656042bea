"""What makes a message of an exchange believable: its key, its place in the order, its tag.

AES-256-GCM under a key of the sender's alone, which `greeting.py` agrees on with each member. The
header is what the receiver expects to the byte, or the message is not read. No sockets here. The
only importer of cryptography.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from bramble.errors import BadFrame

Bytes = NDArray[np.uint8]

WHOLE, PART, TOTAL, REPORT = 1, 2, 3, 4  # kinds: see WIRE.md
ALL = 255  # the recipient of what is sealed once for all members
# magic, kind, form, sender's rank, size of the group, epoch, step, number in the step, payload
HEADER = struct.Struct("<4sBBBBIQII4x")
NONCE = struct.Struct("<QBBH")  # number in the epoch, kind, recipient, 0
MAGIC = b"BRMX"
TAG_BYTES = 16
OVERHEAD_BYTES = HEADER.size + TAG_BYTES


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the order of an epoch a message stands; the same at all members."""

    kind: int
    form: int
    size: int
    epoch: int
    step: int
    sequence: int  # within the step
    count: int  # within the epoch: no two messages of one sender and recipient share it

    def header(self, rank: int, num_bytes: int) -> bytes:
        return HEADER.pack(
            MAGIC,
            self.kind,
            self.form,
            rank,
            self.size,
            self.epoch,
            self.step,
            self.sequence,
            num_bytes,
        )

    def nonce(self, recipient: int) -> bytes:
        return NONCE.pack(self.count, self.kind, recipient, 0)

    def __str__(self) -> str:
        return f"message {self.sequence} of step {self.step} of epoch {self.epoch}"


class Seal:
    """One sender's key, for the sender and for those who read it."""

    def __init__(self, key: bytes, rank: int) -> None:
        self._cipher = AESGCM(key)
        self._rank = rank

    def close(self, place: Place, payload: Bytes, recipient: int = ALL) -> Bytes:
        """Return the whole message: header, encrypted payload, tag.

        payload    uint8 (n,), C-contiguous
        """
        message = np.empty(len(payload) + OVERHEAD_BYTES, np.uint8)
        header = place.header(self._rank, len(payload))
        message[: HEADER.size] = np.frombuffer(header, np.uint8)
        sealed = message[HEADER.size :]
        self._cipher.encrypt_into(place.nonce(recipient), payload.data, header, sealed.data)
        return message

    def check_header(self, place: Place, header: bytes, num_bytes: int) -> None:
        """Raise BadFrame if these are not the bytes that stand before the message of `place`."""
        if header != place.header(self._rank, num_bytes):
            raise BadFrame(_difference(header, place, num_bytes))

    def open(self, place: Place, message: Bytes, recipient: int = ALL) -> Bytes:
        """Return the payload of a message that stands at `place`. Raises BadFrame."""
        payload = np.empty(len(message) - OVERHEAD_BYTES, np.uint8)
        header = message[: HEADER.size].tobytes()
        self.check_header(place, header, len(payload))
        try:
            self._cipher.decrypt_into(
                place.nonce(recipient), message[HEADER.size :].data, header, payload.data
            )
        except InvalidTag:
            raise BadFrame(f"{place} is altered, or sealed with another key") from None
        return payload


def payload_bytes(header: bytes) -> int:
    """Return how long a header says its payload is; nothing is believed of it yet."""
    return int(HEADER.unpack(header)[-1])


def _difference(header: bytes, place: Place, num_bytes: int) -> str:
    """Say what a header that is not the expected one holds."""
    magic, kind, form, _, size, epoch, step, sequence, length = HEADER.unpack(header)
    if magic != MAGIC:
        return f"{place} is due, got what is no message of an exchange"
    if (epoch, step, sequence) != (place.epoch, place.step, place.sequence):
        return f"{place} is due, got message {sequence} of step {step} of epoch {epoch}"
    return (
        f"{place}: got kind {kind}, form {form}, {size} members and {length} bytes, "
        f"need kind {place.kind}, form {place.form}, {place.size} members and {num_bytes} bytes"
    )

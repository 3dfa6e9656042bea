"""What a block device is, and whether it may be erased. Reads only."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cards.errors import Refused

COLUMNS = "NAME,TYPE,SIZE,MODEL,SERIAL,MOUNTPOINTS,RO,TRAN,LABEL,FSTYPE"
CARD_TYPES = ("disk", "loop")
SYSTEM_MOUNTS = ("/", "/boot", "/boot/efi", "/boot/firmware", "/home", "/usr", "/var", "[SWAP]")


@dataclass(frozen=True)
class Device:
    path: str  # with symbolic links resolved
    given: str  # as the user wrote it
    kind: str
    size_bytes: int
    model: str
    serial: str
    is_read_only: bool
    mounts: tuple[tuple[str, str], ...]  # (device, mount point), of partitions and what is on them
    contents: tuple[str, ...]  # one phrase for each partition

    @property
    def identity(self) -> str:
        size = f"{self.size_bytes / (1 << 30):.1f} GiB"
        model, serial = self.model or "model unknown", self.serial or "unknown"
        return f"{self.path}, {size}, {model}, serial {serial};"

    @property
    def summary(self) -> str:
        return f"{self.identity} holds {', '.join(self.contents) or 'no partitions'}"


def inspect(given: str) -> Device:
    path = str(Path(given).resolve())
    if not Path(path).is_block_device():
        raise Refused(
            f"{given} is no block device: lsblk lists them; give a whole card as /dev/sdX"
        )
    try:
        found = subprocess.run(
            ["lsblk", "--json", "--bytes", "--paths", "--output", COLUMNS, path],
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        raise Refused(
            "lsblk is missing, so cards are written on Linux alone: leave out "
            "bramble_flash_device and write the image file with Raspberry Pi Imager"
        ) from error
    if found.returncode:
        raise Refused(f"{given} cannot be read: {found.stderr.strip()}")
    return parse(found.stdout, given)


def parse(listing: str, given: str) -> Device:
    """Read what `lsblk --json` says about one device."""
    tree = json.loads(listing)["blockdevices"][0]
    below = list(_descendants(tree))
    return Device(
        path=tree["name"],
        given=given,
        kind=tree["type"],
        size_bytes=int(tree["size"] or 0),
        model=(tree["model"] or "").strip(),
        serial=(tree["serial"] or "").strip(),
        is_read_only=bool(tree["ro"]),
        mounts=tuple(
            (part["name"], mount)
            for part in [tree, *below]
            for mount in part["mountpoints"]
            if mount
        ),
        contents=tuple(_phrase(part) for part in below),
    )


def refuse_unsafe(device: Device, needed_bytes: int, max_bytes: int, serial: str) -> None:
    """Raise Refused, with the reason, for a device that must not or cannot be written."""
    system = [mount for _, mount in device.mounts if mount in SYSTEM_MOUNTS]
    if system:
        raise Refused(f"{device.path} is the system disk of this machine (it holds {system[0]})")
    if device.mounts:
        part, mount = device.mounts[0]
        raise Refused(f"{part} is mounted at {mount}: unmount it first, umount {part}")
    if device.kind not in CARD_TYPES:
        raise Refused(f"{device.path} is a {device.kind}, not a whole card: give /dev/sdX")
    if not device.size_bytes:
        raise Refused(f"{device.path} is empty: put a card into the reader")
    if device.is_read_only:
        raise Refused(f"{device.path} is read-only: look at the card's lock switch")
    if device.size_bytes < needed_bytes:
        raise Refused(
            f"{device.path} has {device.size_bytes >> 20} MiB and the image needs "
            f"{-(-needed_bytes // (1 << 20))} MiB: take a larger card"
        )
    _refuse_large(device, max_bytes, serial)


def refuse_unconfirmed(device: Device, confirm: str, shown: str) -> None:
    """Raise Refused unless the user named this device; `shown` is its summary when asked."""
    # What it holds is left out: root may read more of that than the user who was shown it.
    if shown and not shown.startswith(device.identity):
        raise Refused(
            f"nothing was erased: {device.given} is another card than a moment ago, "
            f"{device.summary}; run again"
        )
    if not confirm or confirm not in (device.given, device.path, device.serial):
        wanted = f"{device.given} or its serial {device.serial}" if device.serial else device.given
        raise Refused(
            f"nothing was erased: got {confirm or 'no answer'}, and to erase {device.summary} "
            f"the answer is {wanted}"
        )


def _refuse_large(device: Device, max_bytes: int, serial: str) -> None:
    if device.size_bytes <= max_bytes or (serial and serial == device.serial):
        return
    raise Refused(
        f"{device.path} has {device.size_bytes >> 30} GiB, and up to {max_bytes >> 30} GiB are "
        f"taken for a card: if it is the right one, say its serial "
        f"({device.serial or 'it has none'}) in bramble_flash_serial, or raise "
        "bramble_flash_max_gib"
    )


def _descendants(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for child in tree.get("children", []):
        yield child
        yield from _descendants(child)


def _phrase(part: dict[str, Any]) -> str:
    size = f"{int(part['size'] or 0) / (1 << 30):.1f} GiB"
    return " ".join(filter(None, [part["label"] or part["name"], part["fstype"], size]))


def open_exclusively(path: str) -> int:
    """Open for writing; the kernel refuses what is mounted, or part of a RAID, LVM or pool."""
    try:
        return os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except PermissionError as error:
        raise Refused(
            f"no permission to write {path}: run with -e bramble_flash_become=true -K"
        ) from error
    except OSError as error:
        raise Refused(f"{path} cannot be taken for writing: {error.strerror}") from error

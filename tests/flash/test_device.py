"""Which devices may be erased; from what lsblk says, and from this machine's own devices."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest
from cards.device import Device, inspect, parse, refuse_unconfirmed, refuse_unsafe
from cards.errors import Refused

from tests.flash.conftest import PROGRAM_FOLDER  # first: puts the program's folder on the path

assert PROGRAM_FOLDER.is_dir()
GIB = 1 << 30


def part(name: str, kind: str = "part", **other: Any) -> dict[str, Any]:
    plain = {"model": None, "serial": None, "mountpoints": [None], "ro": False, "tran": None}
    plain |= {"label": None, "fstype": None, "size": GIB, "name": name, "type": kind}
    return plain | other


def card(*children: dict[str, Any], **other: Any) -> Device:
    whole = part("/dev/sdb", "disk", size=32 * GIB, model="SD Reader ", serial="0042") | other
    listing = json.dumps({"blockdevices": [whole | {"children": list(children)}]})
    return parse(listing, "/dev/sdb")


def check(
    device: Device, needed: int = 4 * GIB, max_bytes: int = 256 * GIB, serial: str = ""
) -> None:
    refuse_unsafe(device, 4 * GIB, max_bytes, serial)


def test_a_card_is_described_with_what_it_holds() -> None:
    device = card(part("/dev/sdb1", label="system-boot", fstype="vfat"), part("/dev/sdb2"))
    check(device)
    assert device.summary == (
        "/dev/sdb, 32.0 GiB, SD Reader, serial 0042; "
        "holds system-boot vfat 1.0 GiB, /dev/sdb2 1.0 GiB"
    )


@pytest.mark.parametrize("mount", ["/", "/boot/efi", "[SWAP]"])
def test_the_system_disk_is_refused_even_below_encryption(mount: str) -> None:
    crypt = part("/dev/mapper/root", "crypt", mountpoints=[mount])
    with pytest.raises(Refused, match="is the system disk of this machine"):
        check(card(part("/dev/sdb1") | {"children": [crypt]}))


def test_a_mounted_card_is_refused_with_what_to_do() -> None:
    mounted = part("/dev/sdb1", mountpoints=[None, "/media/me/boot"])
    with pytest.raises(Refused, match=r"mounted at /media/me/boot: .* umount /dev/sdb1"):
        check(card(mounted))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"type": "part"}, "is a part, not a whole card"),
        ({"type": "raid1"}, "is a raid1, not a whole card"),
        ({"size": 0}, "put a card into the reader"),
        ({"ro": True}, "lock switch"),
        ({"size": 2 * GIB}, "has 2048 MiB and the image needs 4096 MiB: take a larger card"),
    ],
)
def test_what_cannot_be_a_card_is_refused(other: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        check(card(**other))


def test_a_large_device_needs_its_serial() -> None:
    large = card(size=500 * GIB)
    for serial in ("", "0043"):
        with pytest.raises(Refused, match=r"500 GiB, and up to 256 GiB .* serial \(0042\)"):
            check(large, serial=serial)
    check(large, serial="0042")
    check(large, max_bytes=512 * GIB)


def test_a_large_device_without_a_serial_is_never_taken_for_an_empty_one() -> None:
    with pytest.raises(Refused, match="it has none"):
        check(card(size=500 * GIB, serial=None))


def test_only_the_device_or_its_serial_confirms() -> None:
    device = card()
    refuse_unconfirmed(device, "/dev/sdb", device.summary)
    refuse_unconfirmed(device, "0042", "")
    for answer in ("", "yes", "/dev/sdc", "/dev/sd"):
        with pytest.raises(Refused, match=r"nothing was erased.*/dev/sdb or its serial 0042"):
            refuse_unconfirmed(device, answer, "")


def test_an_empty_serial_confirms_nothing() -> None:
    with pytest.raises(Refused, match="no answer"):
        refuse_unconfirmed(card(serial=None), "", "")


def test_a_card_changed_since_the_question_is_refused() -> None:
    with pytest.raises(Refused, match="another card than a moment ago"):
        refuse_unconfirmed(card(), "/dev/sdb", card(serial="0043").summary)


def test_this_machines_own_disk_is_refused() -> None:
    source = ["findmnt", "--noheadings", "--output", "SOURCE", "/"]
    root = subprocess.run(source, capture_output=True, text=True).stdout.strip()
    if not root.startswith("/dev/"):
        pytest.skip(f"a disk below / is missing: it is {root}")
    with pytest.raises(Refused, match="is the system disk of this machine"):
        check(inspect(root))


@pytest.mark.parametrize("path", ["/dev/null", "/dev/nowhere", "/etc/hostname"])
def test_what_is_no_block_device_is_refused(path: str) -> None:
    with pytest.raises(Refused, match="is no block device"):
        inspect(path)

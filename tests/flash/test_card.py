"""Writing a card: a loop device stands for it, so the kernel's own guards are in play."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cards.card import CHUNK_BYTES, HEAD_BYTES, MARKER, compare
from cards.errors import Failed

from tests.flash.conftest import PROGRAM_FOLDER  # first: puts the program's folder on the path
from tests.flash.machine import run

MIB = 1 << 20
Attach = Callable[[Path], str]


@pytest.fixture
def attach() -> Iterator[Attach]:
    """Attach a file as a block device; all are detached afterwards."""
    if os.getuid():
        pytest.skip("root is missing: loop devices are made")
    devices: list[str] = []

    def attach_file(path: Path) -> str:
        devices.append(run("losetup", "--find", "--show", str(path)).strip())
        return devices[-1]

    yield attach_file
    for device in devices:
        run("losetup", "--detach", device)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "pi1.img"
    path.write_bytes(os.urandom(9 * MIB) + bytes(512))
    return path


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    path = tmp_path / "card"
    path.write_bytes(os.urandom(16 * MIB))
    return path


def flash_card(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(*arguments), capture_output=True, text=True)


def _command(*arguments: object) -> list[str]:
    return ["python3", "-B", str(PROGRAM_FOLDER / "flash_card.py"), *map(str, arguments)]


def write(device: str, image: Path) -> subprocess.CompletedProcess[str]:
    return flash_card("write", "--device", device, "--image", image, "--confirm", device)


def test_a_card_is_written_and_reads_back(attach: Attach, image: Path, backing: Path) -> None:
    device, before = attach(backing), backing.read_bytes()
    done = write(device, image)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["summary"] == f"{device} is written and reads back the same"
    size = image.stat().st_size
    assert backing.read_bytes() == image.read_bytes() + before[size:]


def test_nothing_is_written_without_the_word(attach: Attach, image: Path, backing: Path) -> None:
    device, before = attach(backing), backing.read_bytes()
    done = flash_card("write", "--device", device, "--image", image, "--confirm", "yes")
    assert (done.returncode, backing.read_bytes()) == (2, before)
    assert "nothing was erased: got yes" in done.stderr


def test_a_mounted_card_is_not_written(attach: Attach, image: Path, tmp_path: Path) -> None:
    card, mount = tmp_path / "mounted", tmp_path / "mount"
    run("truncate", "-s", "32M", str(card))
    run("mkfs.ext4", "-q", str(card))
    mount.mkdir()
    device = attach(card)
    run("mount", device, str(mount))
    try:
        done = write(device, image)
    finally:
        run("umount", str(mount))
    assert done.returncode == 2
    assert f"{device} is mounted at {mount}: unmount it first" in done.stderr


def test_a_card_held_by_another_is_not_written(attach: Attach, image: Path, backing: Path) -> None:
    device = attach(backing)
    holder = os.open(device, os.O_RDONLY | os.O_EXCL)
    try:
        done = write(device, image)
    finally:
        os.close(holder)
    assert done.returncode == 2
    assert "cannot be taken for writing: Device or resource busy" in done.stderr


def test_a_power_cut_leaves_a_card_that_says_so_and_the_next_run_starts_anew(
    attach: Attach, tmp_path: Path
) -> None:
    image, card = tmp_path / "pi1.img", tmp_path / "card"
    image.write_bytes(os.urandom(32 * MIB) * 8)
    run("truncate", "-s", "300M", str(card))
    device = attach(card)
    arguments = ("write", "--device", device, "--image", image, "--confirm", device)
    writer = subprocess.Popen(_command(*arguments), stdout=subprocess.PIPE, text=True)
    while head_of(device) != MARKER and writer.poll() is None:
        time.sleep(0.001)
    writer.kill()
    assert writer.communicate()[0] == "", "it was written before it could be stopped"
    assert head_of(device) == MARKER

    done = write(device, image)
    assert "an earlier write had been interrupted; this one began anew" in done.stdout, done.stderr
    assert card.read_bytes()[: image.stat().st_size] == image.read_bytes()


def test_a_card_that_goes_away_is_one_sentence(attach: Attach, image: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    # The device promises 16 MiB and takes 4: errors as from a card pulled out in the middle.
    run("mount", "-t", "tmpfs", "-o", "size=4m", "none", str(small))
    try:
        run("truncate", "-s", "16M", str(small / "card"))
        device = run("losetup", "--find", "--show", str(small / "card")).strip()
        try:
            done = write(device, image)
            assert head_of(device) == MARKER
        finally:
            run("losetup", "--detach", device)
    finally:
        run("umount", str(small))
    assert done.returncode == 1
    assert "pulled out or broken; it will not boot, put one in and run again" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("at", [0, HEAD_BYTES, CHUNK_BYTES + 5, 9 * MIB])
def test_one_wrong_byte_is_found_and_named(at: int, image: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    content = bytearray(image.read_bytes())
    content[at] ^= 1
    copy.write_bytes(content)
    with image.open("rb") as wanted, copy.open("rb") as found:
        compare(wanted.fileno(), wanted.fileno(), 0)
        with pytest.raises(Failed, match=f"otherwise than written, first at byte {at}:"):
            compare(wanted.fileno(), found.fileno(), 0)


def test_a_card_that_is_shorter_than_it_says_is_found(image: Path, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(image.read_bytes()[: 2 * MIB])
    with (
        image.open("rb") as wanted,
        (tmp_path / "short").open("rb") as found,
        pytest.raises(Failed, match=f"first at byte {2 * MIB}:"),
    ):
        compare(wanted.fileno(), found.fileno(), 0)


def head_of(device: str) -> bytes:
    with open(device, "rb") as file:  # noqa: PTH123 (a device, unbuffered by the page cache alone)
        return file.read(len(MARKER))

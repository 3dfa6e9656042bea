"""A node's image file: expanded, given its cloud-init files, and made once."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
from pathlib import Path

import pytest
from cards.build import build
from cards.errors import Refused
from cards.partition import fat_offset

from tests.flash.conftest import PROGRAM_FOLDER  # first: puts the program's folder on the path
from tests.flash.machine import run
from tests.flash.small_image import FAT_OFFSET, make_seed, make_small_image

assert PROGRAM_FOLDER.is_dir()
BASE = "0" * 64


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_small_image(tmp_path / "base.img")


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    return make_seed(tmp_path / "pi1")


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_the_fat_partition_is_found(label: str, tmp_path: Path) -> None:
    assert fat_offset(make_small_image(tmp_path / "a.img", label)) == FAT_OFFSET


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"x" * 510 + b"\x55\xaa"])
def test_what_has_no_fat_partition_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.img").write_bytes(content)
    with pytest.raises(Refused, match="no FAT partition: it is not a Raspberry Pi card image"):
        fat_offset(tmp_path / "a.img")


def test_a_partition_of_a_fat_type_without_fat_is_passed_over(image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(FAT_OFFSET)
        file.write(b"\0" * 512)
    with pytest.raises(Refused, match="no FAT partition"):
        fat_offset(image)


def test_the_image_gets_the_nodes_files(image: Path, seed: Path, tmp_path: Path) -> None:
    packed = tmp_path / "base.img.xz"
    packed.write_bytes(lzma.compress(image.read_bytes(), preset=0))
    assert build(packed, BASE, seed, tmp_path / "pi1.img")
    made = tmp_path / "pi1.img"
    drive = f"{made}@@{FAT_OFFSET}"
    assert run("mtype", "-i", drive, "::user-data") == "# user-data of pi1\n"
    assert "ssh" in run("mdir", "-b", "-i", drive, "::")
    assert made.stat().st_size == image.stat().st_size
    assert made.stat().st_blocks * 512 < made.stat().st_size  # zeros take no room


def test_it_is_made_once_and_again_after_any_change(
    image: Path, seed: Path, tmp_path: Path
) -> None:
    made = tmp_path / "pi1.img"
    assert build(image, BASE, seed, made)
    assert not build(image, BASE, seed, made)
    (seed / "user-data").write_text("# another\n")
    assert build(image, BASE, seed, made)
    assert build(image, "1" * 64, seed, made)
    with made.open("r+b") as file:
        file.write(b"scratched")
    assert build(image, "1" * 64, seed, made)
    (tmp_path / "pi1.json").write_text("not JSON")
    assert build(image, "1" * 64, seed, made)
    assert not build(image, "1" * 64, seed, made)


def test_an_interrupted_build_is_made_anew(image: Path, seed: Path, tmp_path: Path) -> None:
    (tmp_path / "pi1.img.part").write_bytes(b"half" * (64 << 20))
    assert build(image, BASE, seed, tmp_path / "pi1.img")
    assert (tmp_path / "pi1.img").stat().st_size == image.stat().st_size
    assert not (tmp_path / "pi1.img.part").exists()


def test_raspberry_pi_os_without_cloud_init_is_refused_with_the_reason(
    seed: Path, tmp_path: Path
) -> None:
    bookworm = make_small_image(tmp_path / "a.img", files=("config.txt", "cmdline.txt"))
    with pytest.raises(Refused, match=r"does not read cloud-init's files .* Bookworm .* Trixie"):
        build(bookworm, BASE, seed, tmp_path / "pi1.img")
    assert not (tmp_path / "pi1.img").exists()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.zip", b"PK", r"ends in \.img or \.img\.xz"),
        ("a.img.xz", b"not xz at all", "does not unpack"),
        ("a.img.xz", lzma.compress(b"x" * 99_999)[:-40], "does not unpack"),
    ],
)
def test_what_is_no_image_is_refused(
    name: str, content: bytes, reason: str, seed: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refused, match=reason):
        build(tmp_path / name, BASE, seed, tmp_path / "pi1.img")


def test_a_folder_without_the_files_is_refused(image: Path, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="must hold user-data, network-config, meta-data"):
        build(image, BASE, tmp_path / "nothing", tmp_path / "pi1.img")


def test_a_full_disk_is_one_sentence(image: Path, seed: Path, tmp_path: Path) -> None:
    if os.getuid():
        pytest.skip("root is missing: a small file system is mounted")
    image.write_bytes(os.urandom(4 << 20))
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", small], check=True)
    try:
        done = subprocess.run(
            [
                *("python3", "-B", PROGRAM_FOLDER / "flash_card.py", "build"),
                *("--image", image, "--seed", seed, "--to", small / "pi1.img"),
            ],
            capture_output=True,
            text=True,
        )
    finally:
        subprocess.run(["umount", small], check=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("flash_card: the disk is full: free some room")


def test_the_record_names_what_it_was_made_from(image: Path, seed: Path, tmp_path: Path) -> None:
    build(image, BASE, seed, tmp_path / "pi1.img")
    record = json.loads((tmp_path / "pi1.json").read_text())
    assert record["made_from"]["image"] == BASE
    assert set(record["made_from"]) == {"image", "user-data", "network-config", "meta-data", "ssh"}

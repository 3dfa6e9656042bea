"""A small card image: FAT with what a Raspberry Pi image has on it, and a second partition."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.flash.machine import run
from tests.flash.stand_in import search_path

FAT_OFFSET = 1 << 20
SIZE_MIB = 48


def make_small_image(path: Path, label: str = "dos", files: tuple[str, ...] = ()) -> Path:
    kinds = {"dos": ("c", "83"), "gpt": ("EBD0A0A2-B9E5-4433-87C0-68B6B72699C7", "L")}[label]
    table = (
        f"label: {label}\nstart=2048, size=81920, type={kinds[0]}\n"
        f"start=83968, size=8192, type={kinds[1]}\n"
    )
    run("truncate", "-s", f"{SIZE_MIB}M", str(path))
    subprocess.run(
        ["sfdisk", "--quiet", path], input=table.encode(), check=True, env={"PATH": search_path()}
    )
    fat = ("mkfs.vfat", "-F", "32", "-s", "1", "-n", "BOOT", "--offset", "2048")
    run(*fat, str(path), str(40 * 1024))
    for name in files or ("user-data", "network-config", "meta-data", "config.txt"):
        run("mcopy", "-i", f"{path}@@{FAT_OFFSET}", "/dev/null", f"::{name}")
    return path


def make_seed(folder: Path) -> Path:
    folder.mkdir()
    for name in ("user-data", "network-config", "meta-data"):
        (folder / name).write_text(f"# {name} of pi1\n")
    return folder

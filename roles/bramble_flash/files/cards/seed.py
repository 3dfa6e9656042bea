"""cloud-init's files on the FAT partition of a card image, by mtools: nothing is mounted."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cards.errors import Failed, Refused

NAMES = ("user-data", "network-config", "meta-data")
# Raspberry Pi OS starts sshd only where this file lies; Ubuntu passes over it.
SSH_SWITCH = "ssh"


def files_in(folder: Path) -> dict[str, bytes]:
    try:
        return {name: (folder / name).read_bytes() for name in NAMES} | {SSH_SWITCH: b""}
    except OSError as error:
        raise Refused(f"{folder} must hold {', '.join(NAMES)}: {error.strerror}") from error


def expect_cloud_init(image: Path, offset: int) -> None:
    """Refuse an image that would never read the files put into it."""
    found = _mtools("mdir", "-b", "-i", f"{image}@@{offset}", "::").decode("utf-8", "replace")
    names = {line.rpartition("/")[2].lower() for line in found.splitlines()}
    if not {"user-data", "meta-data"} <= names:
        raise Refused(
            "this image does not read cloud-init's files (its boot partition has no user-data and "
            "meta-data), as Raspberry Pi OS Bookworm and older do not; take Ubuntu Server 24.04 "
            "for Raspberry Pi, or Raspberry Pi OS Trixie of October 2025 or later"
        )


def place(image: Path, offset: int, files: dict[str, bytes]) -> None:
    """Write `files` and read them back."""
    drive = f"{image}@@{offset}"
    for name, content in files.items():
        _mtools("mcopy", "-o", "-i", drive, "-", f"::{name}", stdin=content)
        if _mtools("mtype", "-i", drive, f"::{name}") != content:
            raise Failed(
                f"{name} reads back otherwise than written on the boot partition of {image}"
            )


def _mtools(*command: str, stdin: bytes = b"") -> bytes:
    # Images made without regard to cylinders are fine for everything but mtools' own check.
    environment = {**os.environ, "MTOOLS_SKIP_CHECK": "1"}
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, env=environment)
    except FileNotFoundError as error:
        raise Refused(
            f"{command[0]} is missing: apt install mtools (macOS: brew install mtools)"
        ) from error
    if done.returncode:
        raise Failed(f"{command[0]}: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout

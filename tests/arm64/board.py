"""A Raspberry Pi 5 without the board: a Debian root for arm64 with the wheels that a node installs.

Only its making is here; `enter` runs programs in it. Nothing of arm64 runs while it is made.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bramble.commands.places import cache_folder

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
LOCK = ROOT / "service" / "requirements.lock"
SUITE, PYTHON = "bookworm", "3.11"
PACKAGES = "base-files,dash,coreutils,libc-bin,libgomp1,libstdc++6,python3"
MERGED_USR = Path("/usr/share/mmdebstrap/hooks/merged-usr")
FOLDERS = ("bramble", "shared", "opt/wheels", "dev/shm", "proc", "sys", "tmp")
DEVICES = ("null", "zero", "random", "urandom")
TOOLS = {  # program → Debian package
    "mmdebstrap": "mmdebstrap",
    "qemu-aarch64-static": "qemu-user-static",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "ip": "iproute2",
}


@dataclass(frozen=True, slots=True)
class Board:
    root: Path

    def run(self, shared: Path, *command: str | Path, seconds: float, page_bytes: int = 0) -> None:
        """Run a command as on the board; it finds `shared` at /shared. Raises if it fails."""
        environment = dict(os.environ)
        if page_bytes:
            environment["PAGE_BYTES"] = str(page_bytes)
        line = [HERE / "enter", self.root, shared, *command]
        subprocess.run(line, env=environment, check=True, timeout=seconds)


def board() -> Board:
    """The board of this lock, made on first use and kept; boards of other locks go."""
    _check_tools()
    key = hashlib.sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:12]
    parent = cache_folder() / "boards"
    root = parent / f"{SUITE}-{key}"
    if not root.exists():
        shutil.rmtree(parent, ignore_errors=True)
        partial = parent / "partial"
        partial.mkdir(parents=True)
        _make(partial)
        partial.rename(root)
    return Board(root)


def _make(root: Path) -> None:
    """Unpack Debian without running its scripts: they would be emulated, and take minutes."""
    print(f"unpacking Debian {SUITE} for arm64 …", flush=True)
    bootstrap = ["mmdebstrap", "--quiet", "--architectures=arm64", "--variant=extract"]
    bootstrap += [f"--include={PACKAGES}", f"--hook-dir={MERGED_USR}", SUITE, root]
    _quietly(bootstrap)
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in DEVICES:
        (root / "dev" / name).touch()
    print("installing what requirements.lock names, for aarch64 …", flush=True)
    _quietly([*wheels(PYTHON), "--target", root / "opt" / "wheels"])


def wheels(python: str) -> list[str | Path]:
    """The command that installs the lock's wheels for a node, and nothing but wheels.

    2.36 is the glibc of Debian 12, the oldest that a node may run.
    """
    uv = Path(sys.executable).parent / "uv"
    install = [uv, "pip", "install", "--no-deps", "--require-hashes", "--only-binary=:all:"]
    platform = ["--python-platform=aarch64-manylinux_2_36", f"--python-version={python}"]
    return [*install, *platform, "--requirement", LOCK]


def _check_tools() -> None:
    missing = sorted({TOOLS[tool] for tool in TOOLS if shutil.which(tool) is None})
    assert not missing, f"missing: apt-get install {' '.join(missing)}"
    assert os.getuid() == 0, "an arm64 root can only be unpacked as root: sudo make test-arm64"
    assert os.uname().machine == "x86_64", "this compares aarch64 with x86_64; run it on the latter"


def _quietly(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout

"""A node installs wheels alone: none of its Pythons may have to compile what the lock names."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

LOCK = Path(__file__).parents[2] / "service" / "requirements.lock"
PYTHONS = ("3.11", "3.12", "3.13")  # Debian 12, Ubuntu 24.04, Debian 13
PLATFORM = "aarch64-manylinux_2_36"  # the glibc of Debian 12, the oldest of them
MUST_HAVE = ("cryptography", "llvmlite", "numba", "onnxruntime", "pyzmq", "tokenizers")


def resolve(lock: Path, python: str) -> tuple[dict[str, list[str]], str]:
    """Ask the index which wheels such a node would take; no wheel is fetched.

    returns    package → sha256 of its wheels, and what uv said of packages that have none
    """
    uv = Path(sys.executable).parent / "uv"
    line = [uv, "pip", "compile", "--quiet", "--no-config", "--no-deps", "--only-binary=:all:"]
    line += [f"--python-platform={PLATFORM}", f"--python-version={python}"]
    done = subprocess.run(
        [*line, "--format=pylock.toml", lock], capture_output=True, text=True, timeout=100
    )
    packages = tomllib.loads(done.stdout).get("packages", [])
    wheels = {one["name"]: [each["hashes"]["sha256"] for each in one["wheels"]] for one in packages}
    return wheels, done.stderr


def not_locked(wheels: dict[str, list[str]], lock: Path) -> list[str]:
    """Return the packages that have no wheel whose hash the lock allows."""
    blocks = re.findall(r"(?m)^([a-z0-9-]+)==\S+(.*(?:\n +--hash=.*)*)", lock.read_text())
    locked = {name: set(re.findall(r"sha256:(\w{64})", rest)) for name, rest in blocks}
    return [name for name, found in wheels.items() if locked[name].isdisjoint(found)]


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_is_wheels_alone_on_aarch64(python: str) -> None:
    wheels, told = resolve(LOCK, python)
    assert set(MUST_HAVE) <= wheels.keys(), told
    assert not_locked(wheels, LOCK) == []


def test_a_package_without_a_wheel_is_named(tmp_path: Path) -> None:
    """llvmlite 0.43 has wheels up to Python 3.12, so this check can fail."""
    old = tmp_path / "requirements.lock"
    old.write_text(f"llvmlite==0.43.0 \\\n    --hash=sha256:{'0' * 64}\n")
    wheels, told = resolve(old, "3.13")
    assert wheels == {} and "llvmlite==0.43.0 has no usable wheels" in told


def test_a_wheel_whose_hash_is_not_locked_is_named(tmp_path: Path) -> None:
    altered = tmp_path / "requirements.lock"
    block = re.search(r"(?m)^numba==.*(?:\n +--hash=.*)*", LOCK.read_text())[0]
    changed = re.sub(r"sha256:\w{64}", f"sha256:{'0' * 64}", block)
    altered.write_text(LOCK.read_text().replace(block, changed))
    assert not_locked(resolve(altered, "3.11")[0], altered) == ["numba"]

"""What runs here: Bramble's release, the kernel, the system, Python, onnxruntime."""

from __future__ import annotations

import platform
from importlib import metadata

import bramble
from bramble.doctor.finding import Finding, ok
from bramble.doctor.machine import Machine


def versions(machine: Machine) -> dict[str, str]:
    """Return each version by its name; "none" where something is not installed."""
    return {
        "bramble": bramble.__version__,
        "onnxruntime": _installed("onnxruntime"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "system": system_name(machine.read("/etc/os-release") or ""),
        "board": (machine.read("/proc/device-tree/model") or "no Raspberry Pi").rstrip("\0"),
    }


def told(found: dict[str, str]) -> list[Finding]:
    return [ok("versions", ", ".join(f"{name} {version}" for name, version in found.items()))]


def system_name(os_release: str) -> str:
    """Read PRETTY_NAME of /etc/os-release."""
    values = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    return values.get("PRETTY_NAME", "unknown").strip("\"'")


def _installed(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"

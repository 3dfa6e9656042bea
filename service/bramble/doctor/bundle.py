"""A support bundle: what a helper needs to see of a node, in one file, without its secrets."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

from bramble.doctor.machine import MISSING, Machine
from bramble.doctor.redact import GONE, pieces, redact
from bramble.doctor.report import Report, to_document
from bramble.errors import BadInput, Broken

CONFIG = "/etc/bramble"
JOURNAL_LINES = 20_000  # of one day; a unit that restarts all the time writes more
KERNEL_LINES = 500
COMMANDS = {
    "journal.txt": (
        *("journalctl", "--no-pager", "-o", "short-iso", "--since", "-1day"),
        *("-n", str(JOURNAL_LINES), "-u", "bramble*"),
    ),
    "units.txt": ("systemctl", "status", "--no-pager", "--full", "-n", "0", "bramble*"),
    "dmesg.txt": ("dmesg",),
    "ip-link.txt": ("ip", "-s", "link"),
    "ip-address.txt": ("ip", "address"),
    "mounts.txt": ("df", "-h"),
}


def collect(machine: Machine, report: Report, config: str = CONFIG) -> dict[str, str]:
    """Return the bundle's texts by file name, redacted. Raises Broken rather than leak a secret."""
    known = list(_secrets(machine, config))
    texts = {"findings.json": json.dumps(to_document(report), indent=1, ensure_ascii=False)}
    texts["versions.txt"] = "".join(f"{k}: {v}\n" for k, v in report.versions.items())
    texts["os-release.txt"] = machine.read("/etc/os-release") or ""
    for path in machine.glob(f"{config}/*.yml"):
        texts[f"config/{Path(path).name}"] = machine.read(path) or ""
    for name, command in COMMANDS.items():
        texts[name] = _told(machine, command)
    texts["dmesg.txt"] = "\n".join(texts["dmesg.txt"].splitlines()[-KERNEL_LINES:])
    clean = {name: redact(text, known) for name, text in texts.items()}
    _check(clean, known)
    return clean


def write(texts: dict[str, str], path: Path, node: str) -> None:
    """Write a .tar.gz that its owner alone can read; there under its name whole, or not at all.

    Raises BadInput if it cannot be written there.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, text in sorted(texts.items()):
                data = text.encode()
                entry = tarfile.TarInfo(f"bramble-{node}/{name}")
                entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
                archive.addfile(entry, io.BytesIO(data))
        partial.replace(path)
    except OSError as problem:
        raise BadInput(f"{path}: cannot be written: {problem.strerror}") from problem


def _secrets(machine: Machine, config: str) -> Iterator[str]:
    """Yield the contents of this node's secret files, which are never bundled themselves."""
    patterns = (f"{config}/secrets/*", f"{config}/secrets/*/*", "/etc/ssh/ssh_host_*_key")
    for path in (path for pattern in patterns for path in machine.glob(pattern)):
        if text := machine.read(path):
            yield text


def _told(machine: Machine, command: tuple[str, ...]) -> str:
    output = machine.run(*command)
    if output.code == MISSING:
        return f"not available here: {output.complaint}\n"
    return output.text or f"{' '.join(command)}: code {output.code} {output.complaint}\n"


def _check(texts: dict[str, str], known: list[str]) -> None:
    for secret in pieces(known) - {GONE}:
        for name, text in texts.items():
            if secret in text.replace(GONE, ""):
                raise Broken(f"{name} still holds a secret of this node; nothing was written")

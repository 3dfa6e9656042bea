"""cloud-init's and netplan's own checks, from the newest Debian that has both, in a folder."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.flash.machine import run
from tests.flash.stand_in import cache_folder

SUITE = "trixie"
PACKAGES = "cloud-init,netplan.io"


def checkers() -> Path:
    """Return a root folder with both, made once."""
    kept = cache_folder() / f"checkers-{SUITE}"
    if not kept.exists():
        making = kept.with_suffix(".part")
        run("rm", "-rf", "--one-file-system", str(making))
        kept.parent.mkdir(parents=True, exist_ok=True)
        include = f"--include={PACKAGES}"
        bootstrap = ("unshare", "--mount", "mmdebstrap", "--quiet", "--variant=apt")
        run(*bootstrap, include, SUITE, str(making))
        making.rename(kept)
    return kept


def schema(kind: str, text: str) -> subprocess.CompletedProcess[str]:
    """Run `cloud-init schema` on a cloud-config or a network-config."""
    path = checkers() / "tmp/checked"
    path.write_text(text)
    return _inside("cloud-init", "schema", "--schema-type", kind, "--config-file", "/tmp/checked")


def python(
    program: str, text: str, written: Mapping[str, str] | None = None, *environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a program beside cloud-init, with the text in /tmp/checked and further files."""
    for path, content in {"/tmp/checked": text, **(written or {})}.items():
        file = checkers() / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    done = _inside("env", *environment, "python3", "-c", program)
    for path in written or {}:
        (checkers() / path[1:]).unlink()
    return done


def netplan(text: str) -> tuple[subprocess.CompletedProcess[str], str]:
    """Run `netplan generate` on a network-config; returns what it made for the backend too."""
    root = checkers() / "tmp/root"
    run("rm", "-rf", str(root))
    folder = root / "etc/netplan"
    folder.mkdir(parents=True)
    path = folder / "50-cloud-init.yaml"
    # cloud-init writes the file as it is, below this key
    path.write_text("network:\n" + "".join(f"  {line}\n" for line in text.splitlines()))
    path.chmod(0o600)
    done = _inside("netplan", "generate", "--root-dir", "/tmp/root")
    made = [*root.glob("run/systemd/network/*"), *root.glob("run/NetworkManager/*/*")]
    return done, "\n".join(path.read_text() for path in made)


def _inside(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(("chroot", str(checkers()), *command), capture_output=True, text=True)

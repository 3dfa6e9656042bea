"""Run a script as a Cortex-A76 whose instructions are counted; the root is tests/arm64's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.arm64.board import ROOT, board

HERE = Path(__file__).parent
TOOLS = {"qemu-aarch64": "qemu-user", "gcc": "gcc"}  # program → Debian package
OLD_PLUGINS = (9, 0)  # from this version of qemu on a plugin has to say 2


@dataclass(frozen=True, slots=True)
class Emulated:
    root: Path
    plugin: Path

    def run(self, script: Path, *arguments: str | Path, seconds: float) -> tuple[str, str]:
        """Return what the script wrote to both of its streams. Raises SystemExit if it failed."""
        line = [HERE / "enter", self.root, self.plugin, script, *arguments]
        done = subprocess.run(line, capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{script.name} failed, emulated:\n{done.stderr[-2000:]}")
        return done.stdout, done.stderr


def prepare(folder: Path) -> Emulated:
    """Make the root on first use, and the plugin in `folder`."""
    missing = sorted({TOOLS[tool] for tool in TOOLS if shutil.which(tool) is None})
    if missing:
        raise SystemExit(f"missing: apt-get install {' '.join(missing)}")
    root = board().root
    (root / "tmp" / "numba").mkdir(exist_ok=True)
    plugin = folder / "counter.so"
    line = ["gcc", "-shared", "-fPIC", "-O2", f"-DPLUGIN_VERSION={_plugin_version()}"]
    subprocess.run([*line, "-o", plugin, HERE / "counter.c"], check=True)
    return Emulated(root, plugin)


def here(script: Path, *arguments: str | Path) -> str:
    """The same script on this machine; what it wrote."""
    paths = ":".join(map(str, (ROOT, ROOT / "service", ROOT / "tests" / "stage")))
    line = ["env", f"PYTHONPATH={paths}", sys.executable, script, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=True).stdout


def _plugin_version() -> int:
    said = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=True)
    found = re.search(r"version (\d+)\.(\d+)", said.stdout)
    if found is None:
        raise SystemExit(f"qemu-aarch64 does not say its version: {said.stdout[:80]!r}")
    return 1 if (int(found[1]), int(found[2])) < OLD_PLUGINS else 2

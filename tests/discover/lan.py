"""Two network namespaces joined by a cable: a node on one end, a laptop on the other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NODE_ADDRESS, LAPTOP_ADDRESS = "10.78.0.11", "10.78.0.2"


@dataclass(frozen=True, slots=True)
class Lan:
    node: str  # names of network namespaces
    laptop: str

    def on_node(self, *command: str | Path) -> list[str]:
        return _inside(self.node, *command)

    def on_laptop(
        self, *command: str | Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _inside(self.laptop, *command),
            env={**os.environ, "PYTHONPATH": str(ROOT / "service"), **(environment or {})},
            cwd=ROOT / "ansible",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def bramble(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.on_laptop(sys.executable, "-m", "bramble", *words)


@contextmanager
def cabled() -> Iterator[Lan]:
    lan = Lan(f"discover-node-{os.getpid()}", f"discover-laptop-{os.getpid()}")
    try:
        for namespace in (lan.node, lan.laptop):
            _ip("netns", "add", namespace)
        peer = ("peer", "name", "eth0", "netns", lan.laptop)
        _ip("-n", lan.node, "link", "add", "eth0", "type", "veth", *peer)
        for namespace, address in ((lan.node, NODE_ADDRESS), (lan.laptop, LAPTOP_ADDRESS)):
            _ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                _ip("-n", namespace, "link", "set", link, "up")
        yield lan
    finally:
        for namespace in (lan.node, lan.laptop):
            _ip("netns", "delete", namespace)


def _inside(namespace: str, *command: str | Path) -> list[str]:
    return ["ip", "netns", "exec", namespace, *map(str, command)]


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)

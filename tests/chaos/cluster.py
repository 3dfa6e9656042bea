"""What faults are done to: the processes of a service by name, and how it says that it is.

`Local` is `bramble run` as a person has it, which brings up again what dies. Its packed weights and
its model are its own, so that they may be spoilt.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import bramble
from bramble.commands.supervisor import python_command
from bramble.errors import Broken
from bramble.export.api import Options, embedded_sha256, export
from bramble.model import manifest as manifests

from tests.bench.processes import die_with_parent
from tests.chaos.asking import get
from tests.ports import free_ports

EMBEDDED = Path(bramble.__file__).parent / "embedded"
READY_S = 120.0
STOP_S = 30.0
STATUS_S = 2.0
TAIL_LINES = 20


class Cluster(Protocol):
    address: str  # of the web: HOST:PORT
    folder: Path  # its own files are below
    model: Path
    namespaces: dict[str, str]  # of each node that has one: network namespace, and address in it
    addresses: dict[str, str]
    log: Path  # what its processes print

    def processes(self) -> dict[str, int]:
        """Name → process id of what runs now: stage-0 …, head, web."""

    def check(self) -> None:
        """Raises Broken if it cannot come back by itself."""


def cached_model(kind: str) -> Path:
    """The embedded model with such weights, exported once."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bramble" / "chaos"
    folder = home / f"{embedded_sha256()[:12]}-{manifests.FORMAT}-{kind}" / "bramble-demo"
    if not (folder / manifests.FILE_NAME).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        export(str(EMBEDDED), folder, Options(quantization=kind, may_replace=True))
    return folder


class Local:
    """`bramble run` and its children."""

    def __init__(self, model: Path, folder: Path, flags: Sequence[str]) -> None:
        folder.mkdir(parents=True)
        (port,) = free_ports(1)
        self.address, self.folder = f"127.0.0.1:{port}", folder
        self.namespaces: dict[str, str] = {}
        self.addresses: dict[str, str] = {}
        self.model = folder / "models" / model.name
        shutil.copytree(model, self.model)
        self.log = folder / "log"
        self._sockets = TemporaryDirectory(prefix="chaos-")  # their paths have to be short
        variables = {"XDG_RUNTIME_DIR": self._sockets.name, "XDG_CACHE_HOME": str(folder)}
        words = ["run", f"--port={port}", f"--model={self.model}", "--verbose", *flags]
        with self.log.open("wb") as file:
            self._run = subprocess.Popen(
                python_command("bramble", *words),
                env=os.environ | variables,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def processes(self) -> dict[str, int]:
        found = {}
        for pid in children(self._run.pid):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            except OSError:
                continue  # it ended meanwhile
            if len(words) > 3 and words[1:3] == ["-m", "bramble"]:
                node = next((word[7:] for word in words if word.startswith("--node=stage")), "")
                found[node or words[3]] = pid
        return found

    def check(self) -> None:
        """Raises Broken if the supervisor itself has ended."""
        if self._run.poll() is not None:
            lines = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            raise Broken("\n".join([f"bramble run ended with {self._run.returncode}:", *lines]))

    def stop(self) -> None:
        for pid in self.processes().values():
            os.kill(pid, signal.SIGCONT)
        self._run.send_signal(signal.SIGTERM)
        try:
            self._run.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for pid in (*self.processes().values(), self._run.pid):
                os.kill(pid, signal.SIGKILL)
            self._run.wait()
        self._sockets.cleanup()


@contextmanager
def local(model: Path, folder: Path, *flags: str) -> Iterator[Local]:
    """`bramble run` whose rings all serve; its processes have ended afterwards."""
    started = Local(model, folder, flags)
    try:
        wait_until_whole(started, READY_S)
        yield started
    finally:
        started.stop()


def wait_until_whole(cluster: Cluster, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_serving(status(cluster)):
        cluster.check()
        if time.monotonic() > deadline:
            raise Broken(f"not all rings serve after {seconds:.0f} s; see {cluster.log}")
        time.sleep(0.1)


def status(cluster: Cluster) -> dict[str, Any] | None:
    """The status document, or None while nobody answers."""
    try:
        document = get(cluster.address, "/api/status", STATUS_S)
    except OSError:
        return None
    return document if "plan" in document else None


def is_serving(document: dict[str, Any] | None) -> bool:
    """True if every ring serves."""
    if document is None or document["plan"] is None:
        return False
    return all(ring["state"] == "serving" for ring in document["plan"]["rings"])


def epochs(document: dict[str, Any] | None) -> list[int]:
    """Each ring's epoch; it rises whenever the ring begins anew."""
    if document is None or document["plan"] is None:
        return []
    return [ring["epoch"] for ring in document["plan"]["rings"]]


def children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []

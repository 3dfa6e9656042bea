"""A service whose nodes are network namespaces: TCP with keys between them, as between boards.

The web is on this machine's side: it reaches the head by a socket that is a file, as on a node.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bramble.commands.supervisor import Supervisor, python_command

from tests.bench import network
from tests.bench.processes import Site
from tests.chaos.cluster import READY_S, wait_until_whole
from tests.ports import free_ports
from tests.ring.conftest import make_keys

CABLE = "1gbit"
NETWORK = "10.231.78"
CONTROL, SAMPLED, STEPS = 7100, 7099, 7101
MEMORY_BYTES = 1 << 29  # of each stage
TEND_S = 0.1


class Lan:
    """A supervisor on a thread of its own: the kernel ends children with the thread they are of."""

    def __init__(self, model: Path, folder: Path, site: Site, rings: int) -> None:
        folder.mkdir(parents=True)
        (port,) = free_ports(1)
        self.address, self.folder, self.log = f"127.0.0.1:{port}", folder, folder / "log"
        self.model = folder / "models" / model.name
        shutil.copytree(model, self.model)
        places = {f"stage-{i}": place for i, place in enumerate(site.stages)}
        width = len(places) // rings
        names = list(places)
        self._rings = [names[i : i + width] for i in range(0, len(names), width)]
        self._places = places | {"head": site.head}
        self.namespaces = {name: place.namespace for name, place in self._places.items()}
        self.addresses = {name: place.address for name, place in self._places.items()}
        self._sockets = TemporaryDirectory(prefix="chaos-")  # their paths have to be short
        self._keys = make_keys(folder, list(self._places))
        self._supervisor = Supervisor(self._write, self._write)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._tend)
        self._thread.start()

    def processes(self) -> dict[str, int]:
        found = {}
        for child in self._supervisor.children:
            if (process := child.process) is not None and process.poll() is None:
                found[child.name] = process.pid
        return found

    def check(self) -> None:
        """Nothing of it ends by itself."""

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._sockets.cleanup()

    def _tend(self) -> None:
        for name, command in self._commands():
            self._supervisor.start(name, command)
        while not self._is_over.wait(TEND_S):
            self._supervisor.tend()
        self._supervisor.stop()

    def _write(self, name: str, line: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{name} {line}\n")

    def _commands(self) -> Iterator[tuple[str, list[str]]]:
        head = self._places["head"]
        control = f"tcp://{head.address}:{CONTROL}"
        door = f"ipc://{self._sockets.name}/head.sock"
        common = ["--head-node=head", f"--keys={self._keys}"]
        for name, place in self._places.items():
            if name != "head":
                flags = [
                    f"--node={name}",
                    f"--head={control}",
                    f"--listen=tcp://{place.address}:{STEPS}",
                    f"--models={self.model.parent}",
                    f"--packed={self.folder / 'bramble' / 'packed'}",
                    "--threads=1",
                    f"--memory-bytes={MEMORY_BYTES}",
                    f"--secret={self.folder}/{name}.key",
                ]
                words = python_command("bramble", "stage", *flags, *common)
                yield name, place.command(*words)
        flags = [
            "--node=head",
            f"--model={self.model}",
            f"--rings={'/'.join(','.join(ring) for ring in self._rings)}",
            f"--control={control}",
            f"--sampled=tcp://{head.address}:{SAMPLED}",
            f"--client={door}",
            f"--keys={self._keys}",
            f"--secret={self.folder}/head.key",
        ]
        yield "head", head.command(*python_command("bramble", "head", *flags))
        web = [f"--head={door}", f"--listen={self.address}"]
        yield "web", python_command("bramble", "web", *web)


@contextmanager
def lan(model: Path, folder: Path, stages: int, rings: int) -> Iterator[Lan]:
    """A service that serves; its processes and namespaces are gone afterwards."""
    network.check(CABLE)
    with ExitStack() as stack:
        site = stack.enter_context(network.lan(stages * rings, CABLE, "bramble-chaos", NETWORK))
        started = Lan(model, folder, site, rings)
        stack.callback(started.stop)
        wait_until_whole(started, READY_S)
        yield started

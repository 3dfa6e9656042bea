"""The real web process serving model files, a network that can be bad, and models to send."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bramble.commands.supervisor import Supervisor, python_command
from bramble.model import manifest as manifests
from bramble.model.manifest import File, Manifest, Part, Quantization, Rope, Shape

from tests.ports import free_ports
from tests.web.conftest import get_json

PIECE = 1 << 14  # bytes that a link passes on at once


def make_model(folder: Path, seed: int = 0, layer_bytes: int = 1_000_000, layers: int = 3) -> str:
    """Write a model folder of random bytes, tied embedding; return its manifest's sha256.

    The embedding is the same for every seed.
    """
    names = ["embed", *(manifests.layer_name(i) for i in range(layers)), "lm_head"]
    (folder / "shards").mkdir(parents=True)
    files = {}
    for name in names:
        for end, size in (("onnx", 3_000), ("data", 50_000 if "l" not in name else layer_bytes)):
            content = random.Random(f"{name}{end}{seed * (name != 'embed')}").randbytes(size)
            (folder / "shards" / f"{name}.{end}").write_bytes(content)
            digest = hashlib.sha256(content).hexdigest()
            files[f"shards/{name}.{end}"] = File(digest, size)
    parts = [Part(n, f"shards/{n}.onnx", (f"shards/{n}.data",)) for n in names]
    tied = Part("lm_head", "shards/lm_head.onnx", ("shards/lm_head.data", "shards/embed.data"))
    manifest = Manifest(
        name=folder.name.partition("@")[0],
        architecture="LlamaForCausalLM",
        num_parameters=7,
        shape=Shape(layers, 64, 96, 4, 2, 16, 160, 128),
        rope=Rope(10000.0, 16),
        quantization=Quantization("int4", "int4", "int4"),
        is_tied=True,
        eos_ids=(1,),
        bos_id=None,
        source={},
        defaults={},
        parts=(*parts[:-1], tied),
        files=files,
    )
    return manifests.write(manifest, folder)


@contextmanager
def serving(models: Path) -> Iterator[int]:
    """The port of a web process that serves the files of `models`."""
    lines: list[str] = []
    supervisor = Supervisor(lambda _, line: lines.append(line), lambda _, text: lines.append(text))
    (port,) = free_ports(1)
    flags = (f"--listen=127.0.0.1:{port}", f"--models={models}", "--head=ipc:///tmp/nobody")
    try:
        supervisor.start("web", python_command("bramble", "web", *flags))
        for _ in range(200):
            try:
                get_json(f"http://127.0.0.1:{port}/healthz")
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise AssertionError("no web process:\n" + "\n".join(lines))
        yield port
    finally:
        supervisor.stop()


@dataclass
class Link:
    """A wire between a client and a port of this machine; `url` is the client's end.

    cuts     after so many bytes in all the connection is cut, each once
    stalls   after so many bytes in all nothing passes on the connection any more, each once
    bytes_s  as fast as this
    passed   bytes that have gone to clients, HTTP's headers (under 1,000 per answer) among them
    """

    port: int
    cuts: list[int] = field(default_factory=list)
    stalls: list[int] = field(default_factory=list)
    bytes_s: float = 1e9
    passed: int = 0
    answers: int = 0
    url: str = ""
    is_over: threading.Event = field(default_factory=threading.Event)

    def carry(self, client: socket.socket) -> None:
        self.answers += 1
        with client, socket.create_connection(("127.0.0.1", self.port)) as server:
            threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
            try:
                while piece := server.recv(PIECE):
                    if self.cuts and self.passed + len(piece) > self.cuts[0]:
                        self.cuts.pop(0)
                        client.shutdown(socket.SHUT_RDWR)
                        return
                    if self.stalls and self.passed + len(piece) > self.stalls[0]:
                        self.stalls.pop(0)
                        self.is_over.wait(30)
                    client.sendall(piece)
                    self.passed += len(piece)
                    time.sleep(len(piece) / self.bytes_s)
            except OSError:
                return

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while piece := client.recv(PIECE):
                server.sendall(piece)
            server.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


@contextmanager
def linked(link: Link) -> Iterator[Link]:
    """Carry connections until the end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link.url = f"http://127.0.0.1:{listener.getsockname()[1]}/files"

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=link.carry, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield link
        link.is_over.set()
        listener.shutdown(socket.SHUT_RDWR)


def files_below(folder: Path) -> set[str]:
    """Every file by its relative path, locks aside."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {path.relative_to(folder).as_posix() for path in found}

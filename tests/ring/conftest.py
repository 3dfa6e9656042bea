"""Real rings: stages and a head as processes on loopback, started as on a node."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import bramble
import pytest
from bramble.commands.supervisor import Child, Supervisor, python_command
from bramble.export.api import Options, export
from bramble.head.zmq_client import ZmqClient
from bramble.wire.messages import Delta, Done, Generate, Sampling
from bramble.wire.transport import Transport, new_secret, public_of

from tests.ports import free_ports

GOLDEN = Path(__file__).parent.parent / "golden"
EMBEDDED = Path(bramble.__file__).parent / "embedded"
READY_S = 60.0


@dataclass
class Ring:
    """The processes of one ring and a client of its head."""

    client: ZmqClient
    supervisor: Supervisor
    lines: list[str]

    def child(self, name: str) -> Child:
        return next(child for child in self.supervisor.children if child.name == name)

    def wait_for(self, state: str, seconds: float = READY_S) -> dict[str, object]:
        """Return the status once it shows `state`; the ring is tended meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.supervisor.tend()
            try:
                document = self.client.status()
            except Exception:  # noqa: BLE001  whatever keeps the head from answering
                continue
            if document["state"] == state:
                return document
            time.sleep(0.05)
        raise AssertionError(f"not {state} after {seconds} s:\n" + "\n".join(self.lines[-30:]))

    def wait_for_rings(self, count: int, seconds: float = READY_S) -> None:
        """Return once so many rings serve; all is tended meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            document = self.wait_for("serving", seconds)
            states = [ring["state"] for ring in document["plan"]["rings"]]  # type: ignore[index]
            if states.count("serving") == count:
                return
        raise AssertionError(f"rings are {states} after {seconds} s")

    def generate(self, request: Generate) -> tuple[list[int], str, Done]:
        ids: list[int] = []
        text = ""
        for event in self.client.generate(request):
            if isinstance(event, Delta):
                ids += event.token_ids
                text += event.text
            if isinstance(event, Done):
                return ids, text, event
        raise AssertionError("the stream ended without Done")


RingMaker = Callable[..., Ring]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exports of small random models and of the embedded one, named SOURCE-KIND."""
    folder = tmp_path_factory.mktemp("models")
    for name, kind in (("llama2", "int4"), ("llama3", "float32"), ("qwen3", "float32")):
        export(str(GOLDEN / name), folder / f"{name}-{kind}", Options(quantization=kind))
    for kind in ("int8", "int4"):
        export(str(EMBEDDED), folder / f"embedded-{kind}", Options(quantization=kind))
    return folder


def make_keys(folder: Path, names: Sequence[str]) -> Path:
    """Write NAME.key for every name, and return the list of their public keys."""
    lines = []
    for name in names:
        secret = new_secret()
        (folder / f"{name}.key").write_text(secret)
        lines.append(f'{name}: "{public_of(secret)}"\n')
    (folder / "keys.yml").write_text("".join(lines))
    return folder / "keys.yml"


@contextmanager
def running(
    model: Path,
    stages: int,
    folder: Path,
    nodes: Sequence[Path] | None = None,
    files: str = "",
    replicas: int = 1,
    members: int = 1,
    packed: Path | None = None,
    stage: Sequence[str] = ("bramble",),
    **head: object,
) -> Iterator[Ring]:
    """A ring that serves `model`; its processes have ended when this returns.

    nodes     where each stage keeps models, fetched from `files`; without it the model's own folder
    replicas  rings of so many stages each, under the one head
    members   processes that serve each stage together
    packed    where all stages keep their packed weights
    stage     the module that stages are, and its first arguments
    """
    processes = stages * replicas * members
    places = nodes or [model.parent] * processes
    lines: list[str] = []
    supervisor = Supervisor(
        lambda name, line: lines.append(f"{name}: {line}"),
        lambda name, event: lines.append(f"{name}: {event}"),
    )
    control, sampled, *hops = (f"tcp://127.0.0.1:{port}" for port in free_ports(processes + 2))
    door = f"ipc://{folder}/head.sock"
    names = [f"stage-{i}" for i in range(processes)]
    groups = ["+".join(names[i : i + members]) for i in range(0, processes, members)]
    rings = [",".join(groups[i : i + stages]) for i in range(0, len(groups), stages)]
    keys = make_keys(folder, ["head", *names])
    flags = {"max-rows": 8, "prefill-tokens": 16, "exchange": "float32", **head}
    with Transport() as transport:
        try:
            for name, hop, place in zip(names, hops, places, strict=True):
                supervisor.start(
                    name,
                    python_command(
                        *stage,
                        "stage",
                        f"--node={name}",
                        f"--head={control}",
                        f"--listen={hop}",
                        *(["--exchange=tcp://127.0.0.1:0"] if members > 1 else []),
                        f"--models={place}",
                        f"--files={files}",
                        *([f"--packed={packed}"] if packed else []),
                        f"--last-step={folder}/{name}.step",
                        "--threads=1",
                        f"--memory-bytes={1 << 29}",
                        "--head-node=head",
                        f"--keys={keys}",
                        f"--secret={folder}/{name}.key",
                    ),
                )
            supervisor.start(
                "head",
                python_command(
                    "bramble",
                    "head",
                    f"--model={model}",
                    f"--rings={'/'.join(rings)}" if replicas > 1 else f"--stages={rings[0]}",
                    f"--control={control}",
                    f"--sampled={sampled}",
                    f"--client={door}",
                    "--node=head",
                    f"--keys={keys}",
                    f"--secret={folder}/head.key",
                    *(f"--{key}={value}" for key, value in flags.items()),
                ),
            )
            yield Ring(ZmqClient(transport, door), supervisor, lines)
        finally:
            supervisor.stop()


@pytest.fixture
def make_ring(tmp_path: Path) -> Iterator[RingMaker]:
    """Start rings that serve; all have ended after the test."""
    with ExitStack() as stack:
        count = iter(range(100))

        def make(model: Path, stages: int, **more: object) -> Ring:
            folder = tmp_path / f"r{next(count)}"
            folder.mkdir()
            ring = stack.enter_context(running(model, stages, folder, **more))
            ring.wait_for("serving")
            return ring

        yield make


def greedy(name: str, prompt: list[int], tokens: int) -> Generate:
    return Generate(
        name, Sampling(temperature=0), prompt=prompt, max_tokens=tokens, ignore_eos=True
    )


def sampled(name: str, prompt: list[int], tokens: int, seed: int) -> Generate:
    sampling = Sampling(
        temperature=0.9,
        top_k=40,
        top_p=0.95,
        repetition_penalty=1.1,
        presence_penalty=0.3,
        frequency_penalty=0.2,
        seed=seed,
    )
    return Generate(name, sampling, prompt=prompt, max_tokens=tokens, ignore_eos=True)

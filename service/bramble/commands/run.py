"""`bramble run`: a whole ring on this machine, as real processes under a supervisor.

Exactly the programs that run on the nodes; only their endpoints are on loopback.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bramble.commands.places import cache_folder, local_door, runtime_folder
from bramble.commands.supervisor import Printer, Supervisor, python_command
from bramble.config import MEMBER_SIGN
from bramble.errors import BadInput, Unavailable
from bramble.export.api import EMBEDDED_QUANTIZATION, Options, embedded_sha256, export_embedded
from bramble.head.zmq_client import ZmqClient
from bramble.model import manifest as manifests
from bramble.model.share import Share
from bramble.observe.sensors import available_memory_bytes
from bramble.plan import cache_kind
from bramble.plan.cut import block_of, cut
from bramble.wire.transport import Transport

WEB = "web"  # the process that answers over HTTP
BACKLOG = 512  # as systemd/bramble-web.socket
POLL_S = 0.2
ANSWER_S = 1.0  # for the web to say that it is there
DEFAULT_STAGES = 3
QUIET_S = 1.0  # between questions to a ring that serves
MEMORY_SHARE = 0.7  # of what is available; the rest is for everything else on this machine
EXAMPLE = """examples:
  bramble run                                   the embedded demonstration model, three stages
  bramble run --model models/llama-3.2-1b       a model folder made by bramble export
  bramble run --stages 2 --port 9000 --listen 0.0.0.0
  bramble run --replicas 2                      two whole models, each a ring of one stage
  bramble run --replicas 2 --stages 2           two rings of two stages
  bramble run --tensor 2                        two processes that serve all layers together
  bramble run --tensor 2 --stages 2             two stages of two processes each
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "run",
        help="run a whole ring on this machine",
        description="Run a ring on this machine: stages, head and web as processes of their own. "
        "Ctrl-C ends all of them.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--model", type=Path, help="model folder (default: the embedded demonstration model)")
    add(
        "--stages",
        type=int,
        help="stages of each ring (default: 3, or 1 with --replicas or --tensor)",
    )
    add("--replicas", type=int, default=1, help="rings with the whole model each (default: 1)")
    add(
        "--tensor",
        type=int,
        default=1,
        help="processes that serve each stage together, a part of every layer each (default: 1)",
    )
    add("--port", type=int, default=8080, help="HTTP port (default: 8080)")
    add("--listen", default="127.0.0.1", help="HTTP address (default: 127.0.0.1, this machine)")
    add("--names", default="", help="further names of this machine for browsers, with commas")
    add("--threads", type=int, default=0, help="threads per stage (default: cores / all stages)")
    add("--context", type=int, default=0, help="tokens of context (default: the model's, ≤ 8192)")
    add("--rows", type=int, default=16, help="sequences in each ring's KV cache (default: 16)")
    add(
        "--kv",
        choices=cache_kind.KINDS,
        default=cache_kind.AUTO,
        help=cache_kind.HELP,
    )
    add("--speculation", choices=("auto", "off"), default="auto", help="(default: auto)")
    add("--verbose", action="store_true", help="show what every process logs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Start the ring, tell when it serves, tend it until a signal ends it."""
    _check(args)
    model = args.model or embedded_model()
    manifest = manifests.read(model)
    num_stages, num_layers = _num_stages(args), manifest.shape.num_layers
    if num_stages > num_layers:
        raise BadInput(
            f"--stages {num_stages}: {manifest.name} has {num_layers} layers, "
            f"so 1 to {num_layers} stages"
        )
    whole = Share.whole(manifest.shape, 0, num_layers, True, True)
    cut(whole, manifest.shape, block_of(manifest), [1.0] * args.tensor)  # or it says why not
    console = Console(highlight=False)
    url = f"http://{'localhost' if args.listen == '127.0.0.1' else args.listen}:{args.port}"
    announcer = Announcer(console, url, time.monotonic())
    supervisor = Supervisor(_line_printer(console, args.verbose), announcer.tell_event)
    with _runtime(args.port) as folder, _listening(args) as port, _ended_by_signals():
        try:
            for name, command in _commands(args, model.resolve(), folder, port.fileno()):
                supervisor.start(name, command, (port.fileno(),) if name == WEB else ())
            _tend(supervisor, announcer, args)
        except KeyboardInterrupt:
            console.print("ending …")
        finally:
            supervisor.stop()
    return 0


def embedded_model() -> Path:
    """Return the demonstration model's folder, exported on first use and after an upgrade.

    Of several that need it at once, one exports it and the others wait.
    """
    stamp = f"{embedded_sha256()[:12]}-{manifests.FORMAT}"
    folder = cache_folder() / stamp / "bramble-demo"
    if not (folder / manifests.FILE_NAME).exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / manifests.FILE_NAME).exists():
                Console().print("exporting the embedded model (once) …")
                export_embedded(folder, Options(EMBEDDED_QUANTIZATION, may_replace=True))
    return folder


# ------------------------------------------------------------------------------------- processes


def _commands(
    args: argparse.Namespace, model: Path, folder: Path, port: int
) -> Iterator[tuple[str, list[str]]]:
    """Yield (name, command line) of every process, in the order in which to start them.

    Their sockets are files in `folder`, which is ours alone: on loopback TCP any user of this
    machine could talk to a stage. `port` is the descriptor of the socket that the web answers at.
    """
    control, door = f"ipc://{folder}/control.sock", local_door(args.port)
    width = _num_stages(args)
    names = [f"stage-{i}" for i in range(width * args.replicas * args.tensor)]
    stages = _joined(names, args.tensor, MEMBER_SIGN)
    threads = args.threads or max(1, (os.cpu_count() or 1) // len(names))
    memory = int(available_memory_bytes() * MEMORY_SHARE) // len(names)
    for name in names:
        settings = {
            "node": name,
            "head": control,
            "listen": f"ipc://{folder}/{name}.sock",
            "models": model.parent,
            "packed": cache_folder() / "packed",
            "last-step": folder / f"{name}.step",
            "threads": threads,
            "memory-bytes": memory,
        }
        if args.tensor > 1:
            settings["exchange"] = "tcp://127.0.0.1:0"
        elif threads == 1 < width:
            settings["lone-core"] = min(os.sched_getaffinity(0))
        yield name, python_command("bramble", "stage", *_flags(settings))
    head = {
        "model": model,
        "rings": "/".join(_joined(stages, width, ",")),
        "control": control,
        "sampled": f"ipc://{folder}/sampled.sock",
        "client": door,
        "max-length": args.context,
        "max-rows": args.rows,
        "kv-cache": args.kv,
        "exchange": "float32",  # memory of one machine carries it in no time
        "speculation": args.speculation,
    }
    yield "head", python_command("bramble", "head", *_flags(head))
    web: dict[str, object] = {"head": door, "listen": f"{args.listen}:{args.port}", "socket": port}
    if args.names:
        web["names"] = args.names
    yield WEB, python_command("bramble", "web", *_flags(web))


def _joined(names: list[str], count: int, sign: str) -> list[str]:
    """Join each `count` of the names that follow each other."""
    return [sign.join(names[i : i + count]) for i in range(0, len(names), count)]


def _num_stages(args: argparse.Namespace) -> int:
    """Stages of each ring."""
    if args.stages is not None:
        return int(args.stages)
    return DEFAULT_STAGES if args.replicas == args.tensor == 1 else 1


def _flags(settings: Mapping[str, object]) -> list[str]:
    return [f"--{key}={value}" for key, value in settings.items()]


@contextlib.contextmanager
def _runtime(port: int) -> Iterator[Path]:
    folder = runtime_folder(port)
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # it may not listen yet
            raise BadInput(
                f"another `bramble run` has port {port}; stop it or choose another with --port"
            ) from None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _listening(args: argparse.Namespace) -> Iterator[socket.socket]:
    """Hold the HTTP port, as systemd does on a node: while the web restarts, who asks waits."""
    family = socket.AF_INET6 if ":" in args.listen else socket.AF_INET
    with socket.socket(family) as port:
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            port.bind((args.listen, args.port))
            port.listen(BACKLOG)
        except OSError as error:
            raise BadInput(
                f"cannot listen on {args.listen}:{args.port}: {error}; "
                "stop what uses it or choose another with --port"
            ) from error
        yield port


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end us as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = {s: signal.signal(s, interrupt) for s in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# ----------------------------------------------------------------------------------------- words


def _tend(supervisor: Supervisor, announcer: Announcer, args: argparse.Namespace) -> None:
    """Keep the processes alive and say whenever the ring begins or ceases to serve."""
    asked_at = 0.0
    with Transport() as transport:
        client = ZmqClient(transport, local_door(args.port))
        while True:
            supervisor.tend()
            now = time.monotonic()
            if announcer.shown != "serving" or now - asked_at > QUIET_S:
                state, asked_at = _state(client), now
                if state == "serving" != announcer.shown and not _answers(args):
                    state = "starting the web"
                announcer.tell(state, time.monotonic())  # the head may have let us wait
            time.sleep(POLL_S)


def _state(client: ZmqClient) -> str:
    """Return "serving", with what keeps some ring from it, or why none does."""
    try:
        document = client.status()
    except Unavailable:
        return "starting the head"
    if document["state"] != "serving":
        return str(document["reason"])
    return f"serving, but not all: {document['reason']}" if document["reason"] else "serving"


def _answers(args: argparse.Namespace) -> bool:
    """True if the web does; connections alone are taken before it is there."""
    try:
        with urllib.request.urlopen(f"http://{_host(args)}/healthz", timeout=ANSWER_S):
            return True
    except OSError:
        return False


def _host(args: argparse.Namespace) -> str:
    """Return the address by which this machine reaches the web."""
    address = "127.0.0.1" if args.listen == "0.0.0.0" else args.listen
    return f"[{address}]:{args.port}" if ":" in address else f"{address}:{args.port}"


@dataclass(slots=True)
class Announcer:
    """Says each state once, and how long it took until all served again."""

    console: Console
    url: str
    since: float  # when something last ceased to serve
    shown: str = ""

    def tell_event(self, name: str, event: str) -> None:
        """A process has died: say anew when all serve, however soon that is."""
        self.console.print(f"[yellow]{name}[/] {event}")
        if _serves(self.shown):
            self.shown, self.since = "", time.monotonic()

    def tell(self, state: str, now: float) -> None:
        if state == self.shown:
            return
        if self.shown == "serving":
            self.since = now
        elif state == "serving" or (_serves(state) and not _serves(self.shown)):
            self._welcome(now - self.since)
        if state != "serving":
            self.console.print(state, style="dim", markup=False, soft_wrap=True)
        self.shown = state

    def _welcome(self, seconds: float) -> None:
        ready = f"[green]ready[/] after {seconds:.1f} s: chat at [bold]{self.url}[/]"
        self.console.print(
            f"{ready}, API at {self.url}/v1, the ring at {self.url}/status. ", end=""
        )
        self.console.print("Ctrl-C ends it.")


def _serves(state: str) -> bool:
    return state.startswith("serving")


def _line_printer(console: Console, is_verbose: bool) -> Printer:
    def show(name: str, line: str) -> None:
        if is_verbose or "level=WARNING" in line or "level=ERROR" in line:
            console.print(f"{name} {line}", markup=False, soft_wrap=True)

    return show


def _check(args: argparse.Namespace) -> None:
    if _num_stages(args) < 1:
        raise BadInput(f"--stages {args.stages}: a ring has one stage or more")
    if args.tensor < 1:
        raise BadInput(f"--tensor {args.tensor}: a stage has one member or more")
    if args.replicas < 1:
        raise BadInput(f"--replicas {args.replicas}: there is one ring or more")
    if args.rows < 1:
        raise BadInput(f"--rows {args.rows}: a ring has one sequence or more")
    if not 1 <= args.port <= 65535:
        raise BadInput(f"--port {args.port}: need 1 to 65535")
    for flag, number in (("threads", args.threads), ("context", args.context)):
        if number < 0:
            raise BadInput(f"--{flag} {number}: need 1 or more, or 0 for the default")

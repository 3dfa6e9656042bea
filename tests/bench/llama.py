"""llama.cpp: alone on some cores, or spread over its RPC servers with a core each.

Decode and prefill are llama-bench's own figures; streams and turns are asked of llama-server.
"""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bramble.errors import Broken

from tests.bench import streams
from tests.bench.processes import Place, Process, Site, free_ports
from tests.bench.streams import Measured, Reply

READY_S = 120.0
HTTP_S = 300.0
SLOTS, CONTEXT = 8, 2048  # sequences at once, and tokens of each
BRIEF = ("decode", "prefill", "streams 4")  # what has a bound: two formats take twice as long
BRIEF_FORMAT = "Q4_0"
TASKS = (*BRIEF, "streams 1", "streams 2", "streams 8", "turn")
RPC_BATCH = 128  # micro-batches follow one another through the servers: FACTS' best for prefill


class Llama:
    def __init__(self, tools: Path, model: Path, vocab: int, place: Place, threads: int) -> None:
        self.name = f"llama.cpp {model.name} {threads} thread{'s' * (threads > 1)}"
        self._tools, self._model, self._vocab = tools, model, vocab
        self._place, self._threads = place, threads
        self._servers: tuple[Place, ...] = ()
        self._stack = ExitStack()
        self._server: Process | None = None
        self._shared: list[str] = []

    @classmethod
    def over_rpc(cls, tools: Path, model: Path, vocab: int, site: Site) -> Llama:
        """One RPC server per stage's place; what asks them runs at the head's."""
        llama = cls(tools, model, vocab, site.head, 1)
        llama.name = f"llama.cpp {model.name} rpc {len(site.stages)}"
        llama._servers = site.stages
        return llama

    @property
    def file_bytes(self) -> int:
        return self._model.stat().st_size

    def start(self) -> None:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._shared = ["-m", str(self._model), "-t", str(self._threads)]
        if self._servers:
            self._shared += ["--rpc", ",".join(self._start_rpc()), "-ngl", "99"]
            self._shared += ["-ub", str(RPC_BATCH)]

    def stop(self) -> None:
        self._stop_server()
        self._stack.close()

    def can(self, task: str) -> bool:
        return task in (BRIEF if self._model.name == BRIEF_FORMAT else TASKS)

    def measure(self, task: str) -> Measured:
        match task.split():
            case ["decode"]:
                return {"decode": self._bench(0, streams.DECODE_TOKENS)}
            case ["prefill"]:
                tokens = streams.PREFILL_TOKENS
                return {f"prefill {tokens}": self._bench(tokens, 0)}
            case ["streams", count]:
                self._start_server()
                return streams.together(self._ask, self._vocab, int(count))
            case ["turn"]:
                self._start_server()
                return streams.turns(self._ask, self._vocab)
        raise AssertionError(task)

    def _start_rpc(self) -> Iterator[str]:
        ports = free_ports(len(self._servers))
        for index, (place, port) in enumerate(zip(self._servers, ports, strict=True)):
            tool = self._tools / "ggml-rpc-server"
            flags = ["-H", place.address, "-p", str(port), "-t", str(len(place.cores))]
            server = Process(place.command(tool, *flags), self._folder / f"rpc-{index}.log")
            self._stack.callback(server.stop)
            yield f"{place.address}:{port}"
        time.sleep(1.0)  # they say nothing when they listen

    def _bench(self, prompt: int, tokens: int) -> list[float]:
        self._stop_server()  # an RPC server has one client at a time
        counts = ["-p", str(prompt), "-n", str(tokens), "-r", "1"]
        tool = self._tools / "llama-bench"
        command = self._place.command(tool, *self._shared, *counts, "-o", "json")
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise Broken(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
        return bench_samples(done.stdout)

    def _start_server(self) -> None:
        if self._server is not None:
            return
        tool = self._tools / "llama-server"
        flags = ["--host", str(self._socket), "-np", str(SLOTS), "-c", str(SLOTS * CONTEXT)]
        flags += ["-tb", str(self._threads), "--fit", "off", "--cache-ram", "0", "--no-ui"]
        command = self._place.command(tool, *self._shared, *flags)
        self._server = Process(command, self._folder / "server.log")
        self._server.wait_until(self._is_ready, READY_S)
        self._ask(streams.random_ids(streams.SMALL_PROMPT, self._vocab), 4)

    def _stop_server(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @property
    def _socket(self) -> Path:
        """A file, so that it is reached from outside the head's network namespace too."""
        return self._folder / "server.sock"

    def _is_ready(self) -> bool:
        connection = _Connection(self._socket)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _ask(self, prompt: list[int], tokens: int) -> Reply:
        body = {
            "prompt": prompt,
            "n_predict": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "return_tokens": True,
            "cache_prompt": True,
        }
        return streams.reply(self._tokens(body), time.monotonic(), tokens)

    def _tokens(self, body: dict[str, Any]) -> Iterator[int]:
        connection = _Connection(self._socket)
        try:
            connection.request("POST", "/completion", json.dumps(body))
            response = connection.getresponse()
            if response.status != http.HTTPStatus.OK:
                raise Broken(f"{self.name}: {response.status} {response.read()[:500]!r}")
            for line in response:
                if line.startswith(b"data: "):
                    event = json.loads(line.removeprefix(b"data: "))
                    if not event["stop"]:
                        yield from event["tokens"]
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket file."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=HTTP_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(HTTP_S)
        self.sock.connect(str(self._path))


def bench_samples(text: str) -> list[float]:
    """The tokens per second of each repetition, from llama-bench's JSON."""
    samples: list[float] = json.loads(text)[0]["samples_ts"]
    return samples

"""One member of a group that exchanges and measures: `python -m tests.bench.exchange_member JSON`.

Prints when it came to each exchange and when it had the sum, on this machine's monotonic clock.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
import zmq
from bramble.stage.exchange import group as groups
from bramble.stage.exchange.door import Door
from bramble.stage.exchange.forms import form_of
from bramble.stage.exchange.seal import HEADER, OVERHEAD_BYTES, Bytes, Place, Seal
from bramble.stage.exchange.tcp import TcpExchange
from numpy.typing import NDArray
from zmq.utils import z85

SUMS_PER_STEP = 32  # of 16 layers
SWEEP_BYTES = 12_000_000  # what half a layer reads, in 0.5 ms
KEY = "5a" * 32


@dataclass(frozen=True, slots=True)
class Task:
    """way    tcp, tcp-plain (nothing encrypted), zmq, zmq-curve
    sweeps  times that 12 MB are read before each exchange
    """

    way: str
    form: str
    rank: int
    endpoints: list[str]
    rows: int
    hidden: int
    count: int
    sweeps: int


class Sums(Protocol):
    own_us: float  # NaN where it cannot be told from waiting

    def begin_step(self, step: int) -> None: ...
    def reduce(self, partial: NDArray[np.float32]) -> None: ...
    def close(self) -> None: ...


class PlainSeal(Seal):
    """Copies where a Seal encrypts, to tell what that costs."""

    def close(self, place: Place, payload: Bytes, recipient: int = 255) -> Bytes:
        message = np.empty(len(payload) + OVERHEAD_BYTES, np.uint8)
        message[: HEADER.size] = np.frombuffer(place.header(self._rank, len(payload)), np.uint8)
        message[HEADER.size : len(message) - 16] = payload
        return message

    def open(self, place: Place, message: Bytes, recipient: int = 255) -> Bytes:
        self.check_header(place, message[: HEADER.size].tobytes(), len(message) - OVERHEAD_BYTES)
        return message[HEADER.size : len(message) - 16].copy()


class Ours(TcpExchange):
    @property
    def own_us(self) -> float:
        return self.tally.own_us


class Zmq:
    """A PAIR socket to each other member, polled without sleeping, in float32."""

    own_us = float("nan")

    def __init__(self, task: Task) -> None:
        self._context = zmq.Context()
        self._size, self._rank = len(task.endpoints), task.rank
        self._sockets = {
            rank: self._socket(task, rank) for rank in range(self._size) if rank != task.rank
        }

    def _socket(self, task: Task, other: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.PAIR)
        socket.linger = 1000
        low, high = sorted((task.rank, other))
        host, port = task.endpoints[low].rsplit(":", 1)
        endpoint = f"{host}:{int(port) + high}"
        if task.way == "zmq-curve":
            secret = z85.encode(bytes(range(32)))  # of both ends: it is about the time
            socket.curve_secretkey, socket.curve_publickey = secret, zmq.curve_public(secret)
            if task.rank == low:
                socket.curve_server = True
            else:
                socket.curve_serverkey = zmq.curve_public(secret)
        if task.rank == low:
            socket.bind(endpoint)
        else:
            socket.connect(endpoint)
        return socket

    def begin_step(self, step: int) -> None:
        pass

    def reduce(self, partial: NDArray[np.float32]) -> None:
        for socket in self._sockets.values():
            socket.send(partial.tobytes())
        came = {self._rank: partial.copy()}
        while len(came) < self._size:
            for rank, socket in self._sockets.items():
                if rank not in came:
                    try:
                        message = socket.recv(zmq.NOBLOCK)
                    except zmq.Again:
                        continue
                    came[rank] = np.frombuffer(message, np.float32).reshape(partial.shape)
        np.add(came[0], came[1], out=partial)
        for rank in range(2, self._size):
            partial += came[rank]

    def close(self) -> None:
        self._context.destroy()


def sums_of(task: Task) -> Sums:
    if task.way.startswith("zmq"):
        return Zmq(task)
    if task.way == "tcp-plain":
        groups.Seal = PlainSeal  # type: ignore[misc]
    door = Door(task.endpoints[task.rank])
    members = [(f"member{rank}", endpoint) for rank, endpoint in enumerate(task.endpoints)]
    form = form_of(task.form)
    return Ours(door, members, task.rank, 1, KEY, form, lambda: None)


def measure(task: Task) -> dict[str, list[float]]:
    sums, partial = sums_of(task), np.ones((task.rows, task.hidden), np.float32)
    swept = np.ones(SWEEP_BYTES // 4, np.float32)
    found: dict[str, list[float]] = {"came_us": [], "done_us": [], "own_us": []}
    for number in range(task.count):
        if number % SUMS_PER_STEP == 0:
            sums.begin_step(number)
        for _ in range(task.sweeps):
            swept.max()
        partial.fill(task.rank + 1)
        own = sums.own_us
        came = time.monotonic_ns()
        sums.reduce(partial)
        done = time.monotonic_ns()
        found["came_us"].append(came / 1e3)
        found["done_us"].append(done / 1e3)
        found["own_us"].append(sums.own_us - own)
        assert abs(partial[0, 0] - sum(range(1, len(task.endpoints) + 1))) < 0.05
    sums.close()
    return found


if __name__ == "__main__":
    task = Task(**json.loads(sys.argv[1]))
    print(json.dumps({"task": asdict(task), **measure(task)}))

"""What is broken of the network between the nodes of a run, each in a namespace of its own."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bramble.errors import Broken

from tests.chaos.faults import Planned, Scene

NOBODY = "02:00:00:00:00:99"  # packets to this address arrive nowhere, and no error comes back
RATE = ("rate", "1gbit", "burst", "256kb", "latency", "50ms")  # as tests/bench/network.py
SLOW = ("rate", "2mbit", "burst", "8kb", "latency", "300ms")
LOSSY = ("rate", "4mbit", "burst", "4kb", "limit", "4kb")  # what does not go at once is dropped


def slow(scene: Scene, planned: Planned) -> str:
    (node,) = planned.targets
    with _shaped(scene, node, SLOW):
        time.sleep(planned.held_s)
    return f"2 Mbit/s from {node}, up to 300 ms late, for {planned.held_s:.1f} s"


def lossy(scene: Scene, planned: Planned) -> str:
    (node,) = planned.targets
    with _shaped(scene, node, LOSSY):
        time.sleep(planned.held_s)
    return f"{node} loses what is over 4 KB at once, for {planned.held_s:.1f} s"


def partition(scene: Scene, planned: Planned) -> str:
    """One node from all others, both ways."""
    (node,) = planned.targets
    others = [name for name in scene.cluster.namespaces if name != node]
    pairs = [pair for other in others for pair in ((node, other), (other, node))]
    with _deaf(scene, pairs):
        time.sleep(planned.held_s)
    return f"{node} apart from all others for {planned.held_s:.1f} s"


def one_way(scene: Scene, planned: Planned) -> str:
    """What the first sends does not reach the second; the second's reaches the first."""
    first, second = planned.targets
    with _deaf(scene, [(first, second)]):
        time.sleep(planned.held_s)
    return f"nothing from {first} reaches {second} for {planned.held_s:.1f} s"


@contextmanager
def _shaped(scene: Scene, node: str, how: Sequence[str]) -> Iterator[None]:
    namespace = scene.cluster.namespaces[node]
    _run("tc", "-n", namespace, "qdisc", "change", "dev", "eth0", "root", "tbf", *how)
    try:
        yield
    finally:
        _run("tc", "-n", namespace, "qdisc", "replace", "dev", "eth0", "root", "tbf", *RATE)


@contextmanager
def _deaf(scene: Scene, pairs: Sequence[tuple[str, str]]) -> Iterator[None]:
    """Have packets of each first node to each second one go nowhere."""
    spaces, addresses = scene.cluster.namespaces, scene.cluster.addresses
    ways = [(spaces[first], addresses[second]) for first, second in pairs]
    for space, address in ways:
        wrong = ("lladdr", NOBODY, "nud", "permanent", "dev", "eth0")
        _run("ip", "-n", space, "neigh", "replace", address, *wrong)
    try:
        yield
    finally:
        for space, address in ways:
            _run("ip", "-n", space, "neigh", "delete", address, "dev", "eth0")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Broken(f"{' '.join(command)}: {done.stderr.strip()}")

"""A LAN of network namespaces: the head's and one per stage, each with a shaped cable to a switch.

Nothing in it reaches this machine's own network, nor is it reached from there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from bramble.errors import BadInput, Broken

from tests.bench.processes import Place, Site, core

PREFIX = "bramble-bench"
NETWORK = "10.231.77"
BURST = "256kb"  # what tbf lets pass at once; at 1 Gbit/s 957 Mbit/s arrive
LATENCY = "50ms"  # how long tbf keeps what is over the rate
RATE = re.compile(r"\d+(\.\d+)?[gm]bit")


def check(rate: str) -> None:
    """Raises BadInput for a rate that tc does not know, or without what it takes."""
    if not RATE.fullmatch(rate):
        raise BadInput(f"--network {rate}: need a rate such as 1gbit, 2.5gbit or 100mbit")
    if os.geteuid() != 0:
        raise BadInput("--network makes network namespaces: run it as root, or leave it out")
    for program in ("ip", "tc"):
        if shutil.which(program) is None:
            raise BadInput(f"--network needs {program}: apt install iproute2")


@contextmanager
def lan(
    num_stages: int,
    rate: str,
    prefix: str = PREFIX,
    network: str = NETWORK,
    burst: str = BURST,
) -> Iterator[Site]:
    """A head and stages with a cable of `rate` each; all of it is gone afterwards.

    prefix   of the namespaces' names; two at once have other ones
    network  the first three numbers of their addresses
    burst    what goes faster than `rate` after a pause
    """
    switch = f"{prefix}-switch"
    names = [f"{prefix}-{name}" for name in ("head", *map(str, range(num_stages)))]
    _remove([switch, *names])  # of a run that was killed
    try:
        _ip("netns", "add", switch)
        _ip("-n", switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", switch, "link", "set", "switch", "up")
        for number, name in enumerate(names, 10):
            _plug(name, switch, f"port{number}", f"{network}.{number}", rate, burst)
        head, *stages = (Place(f"{network}.{n}", (), name) for n, name in enumerate(names, 10))
        yield Site(head, tuple(place.on(core(i)) for i, place in enumerate(stages)))
    finally:
        _remove([switch, *names])


def _plug(name: str, switch: str, port: str, address: str, rate: str, burst: str) -> None:
    """A namespace with `eth0`, shaped in both directions."""
    _ip("netns", "add", name)
    _ip("-n", name, "link", "set", "lo", "up")
    peer = ["peer", "name", port, "netns", switch]
    _ip("-n", name, "link", "add", "eth0", "type", "veth", *peer)
    _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
    _ip("-n", switch, "link", "set", port, "master", "switch", "up")
    _ip("-n", name, "link", "set", "eth0", "up")
    for namespace, device in ((name, "eth0"), (switch, port)):
        shape = ["root", "tbf", "rate", rate, "burst", burst, "latency", LATENCY]
        _run("tc", "-n", namespace, "qdisc", "add", "dev", device, *shape)


def _remove(names: list[str]) -> None:
    there = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout.split()
    for name in names:
        if name in there:
            _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    _run("ip", *arguments)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Broken(f"{' '.join(command)}: {done.stderr.strip()}")

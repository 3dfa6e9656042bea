"""`python -m tests.bench.exchange`: what a sum over a group costs, by itself and over cables."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import numpy as np
from bramble.stage.exchange.forms import Span, blocks_per_row, form_of
from bramble.stage.exchange.reduction import is_in_two_steps

from tests.bench import network
from tests.bench.exchange_member import Task
from tests.bench.processes import Site, die_with_parent, free_ports, loopback

EXAMPLE = """examples:
  python -m tests.bench.exchange                                  two members on loopback, all ways
  python -m tests.bench.exchange --network 1gbit --members 2,4    as root: over shaped cables

A member's own cost is packing, encrypting, sending, decrypting and summing. `after the last` is
from when the last member came until the slowest had the sum; the model's figure is beside it.
"""
LATENCY_MS, BYTES_PER_MS = 0.085, 117_000.0  # between Pi 5s over gigabit Ethernet, published
WAYS = ("tcp", "tcp-plain", "zmq", "zmq-curve")
BURST = "3kb"  # two packets: a message of some kB is to take its time on the cable
SKIPPED = 64  # exchanges, until caches and windows are warm


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.bench.exchange",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--members", default="2", help="sizes of groups (default: %(default)s)")
    add("--rows", default="1", help="default: %(default)s")
    add("--hidden", default="2048", help="default: %(default)s")
    add("--ways", default=",".join(WAYS), help="default: %(default)s")
    add("--forms", default="float32,float16,q8", help="default: %(default)s")
    add("--count", type=int, default=1500, help="exchanges (default: %(default)s)")
    add("--rounds", type=int, default=3, help="default: %(default)s")
    add("--sweeps", type=int, default=1, help="of 12 MB before each (default: %(default)s)")
    add("--network", metavar="RATE", help="a namespace per member, cables of e.g. 1gbit; as root")
    return made


def main() -> int:
    args = parser().parse_args()
    print("| members | rows × hidden | way | form | own µs, median (least) | whole µs | "
          "after the last, median (least) | model |")  # fmt: skip
    print("|--:|---|---|---|--:|--:|--:|--:|")
    for size in map(int, args.members.split(",")):
        with _site(args.network, size) as site:
            for task in _tasks(args, size):
                print(_row([_run(task, site) for _ in range(args.rounds)], task), flush=True)
    return 0


def _tasks(args: argparse.Namespace, size: int) -> Iterator[Task]:
    for rows in map(int, args.rows.split(",")):
        for hidden in map(int, args.hidden.split(",")):
            for way in args.ways.split(","):
                for form in args.forms.split(",") if way.startswith("tcp") else ["float32"]:
                    yield Task(way, form, 0, [""] * size, rows, hidden, args.count, args.sweeps)


def _run(task: Task, site: Site) -> dict[str, list[float]]:
    """Return for each exchange: own and whole time of rank 0, and the last one's, in µs."""
    size = len(task.endpoints)
    ports = range(7200, 7200 + 100 * size, 100) if site.stages[0].namespace else free_ports(size)
    endpoints = [
        f"tcp://{place.address}:{port}" for place, port in zip(site.stages, ports, strict=False)
    ]
    processes = []
    for rank, place in enumerate(site.stages[:size]):
        told = json.dumps({**asdict(task), "rank": rank, "endpoints": endpoints})
        command = place.command(sys.executable, "-m", "tests.bench.exchange_member", told)
        processes.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=die_with_parent)
        )
    try:
        said = [json.loads(process.communicate(timeout=300)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
    came = np.array([one["came_us"] for one in said])[:, SKIPPED:]
    done = np.array([one["done_us"] for one in said])[:, SKIPPED:]
    own = np.array([one["own_us"] for one in said])[:, SKIPPED:]
    return {
        "own": own.mean(axis=0).tolist(),
        "whole": (done - came).mean(axis=0).tolist(),
        "after": (done.max(axis=0) - came.max(axis=0)).tolist(),
    }


def _row(rounds: list[dict[str, list[float]]], task: Task) -> str:
    def shown(what: str) -> str:
        medians = [statistics.median(one[what]) for one in rounds]
        return f"{statistics.median(medians):.0f} ({min(medians):.0f})"

    least = min(min(one["after"]) for one in rounds)
    cells = [
        str(len(task.endpoints)),
        f"{task.rows} × {task.hidden}",
        task.way,
        task.form,
        shown("own"),
        shown("whole"),
        f"{shown('after')}, of all {least:.0f}",
        f"{model_ms(task) * 1000:.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def model_ms(task: Task) -> float:
    """Return what the published figures between Pi 5s make of it."""
    size = len(task.endpoints)
    whole = Span(task.hidden, 0, task.rows * blocks_per_row(task.hidden))
    num_bytes = form_of(task.form).num_bytes(whole)
    if is_in_two_steps(size, num_bytes):
        return 2 * (LATENCY_MS + (size - 1) / size * num_bytes / BYTES_PER_MS)
    return LATENCY_MS + (size - 1) * num_bytes / BYTES_PER_MS


@contextmanager
def _site(rate: str | None, size: int) -> Iterator[Site]:
    if rate is None:
        yield loopback(size)
        return
    network.check(rate)
    with network.lan(size, rate, "bramble-exchange", "10.231.78", BURST) as site:
        yield site


if __name__ == "__main__":
    sys.exit(main())

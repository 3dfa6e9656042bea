"""`make chaos-hosts`: cut cables and pull plugs of booted hosts, under load, and judge all replies.

Three hosts, two rings, two heads and their virtual address. In each minute the cable of one host is
cut for a while, and the plug of one is pulled: what its disk had not written is lost. As root.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import bramble
from bramble.errors import BrambleError

from tests.chaos.__main__ import judge
from tests.chaos.asking import answer, get, reference
from tests.chaos.cases import Case, cases
from tests.chaos.cluster import is_serving, local
from tests.chaos.crowd import Crowd, Manners
from tests.chaos.history import FORMAT, BadHistory, Recorder
from tests.chaos.nemesis import PROBE
from tests.cluster.conftest import Cluster
from tests.cluster.lab import Lab, run, running

ADDRESS = "10.77.0.10"
HEADS = ("pi1", "pi2")
HOSTS = (*HEADS, "pi3")
SITE = ("-e", f"bramble_virtual_address={ADDRESS}")
QUESTIONS = 8
CLIENTS = 4
# A host without power closes no connection: who hears no comment for ten seconds asks again
MANNERS = Manners(leavers=0.0, keyed=1.0, timeout_s=10.0)
CUT_S = (3.0, 8.0, 15.0, 20.0)
OFF_S = (1.0, 5.0, 15.0)  # between a pulled plug and power again
EACH_S = 30.0  # from fault to fault, where the last one is over by then
WHOLE_S = 180.0  # a host boots meanwhile, and this machine has other things to do
REST_S = 150.0
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Planned:
    number: int
    what: str  # cut-cable or pull-plug
    host: str
    held_s: float


def plan(seed: int, count: int) -> list[Planned]:
    """A cut cable and a pulled plug in turn; which host and for how long follows from the seed."""
    rng = Random(f"hosts {seed}")
    kinds = (("cut-cable", CUT_S), ("pull-plug", OFF_S))
    found = []
    for number in range(1, count + 1):
        what, times = kinds[(number + 1) % 2]
        found.append(Planned(number, what, rng.choice(HOSTS), rng.choice(times)))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.hosts", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=30.0, help="with two faults each (default: 30)")
    add("--seed", type=int, default=1, help="of faults and clients (default: 1)")
    add("--out", type=Path, default=Path("build/chaos"), help="folder of history and report")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    history = args.out / f"hosts-{args.minutes:g}-seed-{args.seed}.jsonl"
    repeat = f'make chaos-hosts ARGS="--minutes {args.minutes:g} --seed {args.seed}"'
    try:
        with tempfile.TemporaryDirectory(prefix="chaos-hosts-") as folder:
            _run(args.minutes, args.seed, history, Path(folder))
        return judge(history, history.with_suffix(".md"), repeat)
    except (BrambleError, BadHistory) as error:
        print(f"chaos-hosts: {error}", file=sys.stderr)
        return 1


def _run(minutes: float, seed: int, history: Path, folder: Path) -> None:
    asked = cases(QUESTIONS)
    recorder = Recorder(history)
    with ExitStack() as stack:
        stack.callback(recorder.close)
        recorder.write("run", format=FORMAT, **_described(minutes, seed))
        lab = stack.enter_context(running(folder / "lab", 0))
        lab.start(1, 2, 3, has_card=True)
        cluster = Cluster(lab, "replica", folder)
        cluster.edit(pi2={"address": lab.hosts["pi2"].address, "role": "head"})
        _tell("setting up three hosts …")
        cluster.play("site", *SITE)
        _write_references(recorder, cluster, folder, asked)
        scene = Scene(cluster, recorder)
        with entered(lab):
            scene.wait_until_whole()
            crowd = Crowd(recorder, scene.address, asked, CLIENTS, seed, MANNERS)
            crowd.start()
            try:
                scene.run(plan(seed, int(2 * minutes)), time.monotonic() + 60 * minutes)
            finally:
                crowd.finish()
            scene.write_rest()


def _described(minutes: float, seed: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "weights": "the embedded model's, on three booted hosts",
        "rings": "[[pi1], [pi2, pi3]], heads on pi1 and pi2",
        "minutes": minutes,
        "clients": f"{CLIENTS}, each request with an Idempotency-Key",
        "release": bramble.__version__,
        "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2),
        "began": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "kinds": "cut-cable, pull-plug",
    }


def _write_references(
    recorder: Recorder, cluster: Cluster, folder: Path, asked: list[Case]
) -> None:
    """Ask a service of one stage on this machine, with the export that the first head serves."""
    _tell(f"asking {len(asked)} questions of an undisturbed service …")
    model = folder / "bramble-demo"
    served = cluster.host("pi1").root / "var/lib/bramble/models/bramble-demo"
    shutil.copytree(served, model)
    with local(model, folder / "undisturbed", "--stages=1", "--speculation=off") as alone:
        for case in asked:
            recorder.write("reference", **reference(case, answer(alone.address, case)))


class Scene:
    """The hosts, and what is done to them; within the lab's network."""

    def __init__(self, cluster: Cluster, recorder: Recorder) -> None:
        self._cluster, self._recorder = cluster, recorder
        self.address = f"{ADDRESS}:8080"
        self._do: dict[str, Callable[[Planned], str]] = {
            "cut-cable": self._cut,
            "pull-plug": self._pull,
        }

    def run(self, planned: Sequence[Planned], deadline: float) -> None:
        for each in planned:
            if time.monotonic() > deadline:
                break
            due = time.monotonic() + EACH_S
            members = {"what": each.what, "targets": [each.host], "held_s": each.held_s}
            self._recorder.write("fault", fault=each.number, **members)
            detail = self._do[each.what](each)
            self._recorder.write("healed", fault=each.number, detail=detail)
            self._recorder.write("load", load=round(os.getloadavg()[0], 2))
            try:
                answered_s, whole_s = self.wait_until_whole()
            except TimeoutError as error:
                self._recorder.write("lasting", fault=each.number, why=str(error))
                _tell(f"{each.number}: {each.what}, {each.host}: {error}; the run ends here")
                return
            times = {"answered_s": answered_s, "whole_s": whole_s}
            self._recorder.write("whole", fault=each.number, **times, died=[])
            _tell(
                f"{each.number}/{len(planned)}: {each.what}, {each.host}, {each.held_s:.0f} s: "
                f"answered after {answered_s:.1f} s, whole after {whole_s:.1f} s"
            )
            time.sleep(max(0.0, due - time.monotonic()))

    def wait_until_whole(self) -> tuple[float, float]:
        """Seconds until the address answers, and until all rings serve and both heads are up."""
        began = time.monotonic()
        answered_s = None
        while (elapsed_s := time.monotonic() - began) < WHOLE_S:
            with suppress(OSError):
                if answered_s is None:
                    answer(self.address, PROBE, 15.0)
                    answered_s = round(time.monotonic() - began, 3)
                document = get(self.address, "/api/status", 2.0)
                if is_serving(document) and self._are_heads_up():
                    answer(self.address, PROBE, 15.0)
                    return answered_s, round(time.monotonic() - began, 3)
            time.sleep(0.2)
        raise TimeoutError(f"not whole {elapsed_s:.0f} s after a fault")

    def write_rest(self) -> None:
        """Say what the heads still work on once all clients are gone."""
        deadline = time.monotonic() + REST_S
        counts = {"running": -1, "queued": -1}
        while time.monotonic() < deadline and any(counts.values()):
            with suppress(OSError):
                requests = get(self.address, "/api/status", 2.0)["requests"]
                counts = {key: requests[key] for key in counts}
            time.sleep(0.2)
        self._recorder.write("rest", **counts)

    def _are_heads_up(self) -> bool:
        """True if one leads and the other one says that it stands by. Raises OSError."""
        addresses = [f"{self._cluster.host(name).address}:8080" for name in HEADS]
        said = [get(address, "/leader", 2.0) for address in addresses]
        states = sorted(
            "leads" if each["status"] == "leads" else each.get("reason", "") for each in said
        )
        return states[1] == "leads" and "stands by" in states[0]

    def _cut(self, each: Planned) -> str:
        lab = self._cluster.lab
        link = f"v-{lab.hosts[each.host].space.removeprefix(f'{lab.space}-')}"
        run("ip", "-n", lab.space, "link", "set", link, "nomaster")
        time.sleep(each.held_s)
        run("ip", "-n", lab.space, "link", "set", link, "master", "lan")
        return f"nothing gets to or from {each.host} for {each.held_s:.0f} s"

    def _pull(self, each: Planned) -> str:
        host = self._cluster.host(each.host)
        host.pull_plug()
        time.sleep(each.held_s)
        host.start()
        return f"{each.host} without power for {each.held_s:.0f} s; it boots from here on"


@contextmanager
def entered(lab: Lab) -> Iterator[None]:
    """Have this thread, and those that it starts, be on the lab's network."""
    libc = ctypes.CDLL(None, use_errno=True)
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    inside = os.open(f"/run/netns/{lab.space}", os.O_RDONLY)
    try:
        _set_namespace(libc, inside)
        yield
    finally:
        _set_namespace(libc, outside)
        os.close(inside)
        os.close(outside)


def _set_namespace(libc: ctypes.CDLL, namespace: int) -> None:
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""Plans faults from a seed, does them one after another, and waits each time until all is well."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from bramble.errors import BadInput

from tests.chaos import faults, links
from tests.chaos.asking import answer
from tests.chaos.cases import Case
from tests.chaos.cluster import epochs, is_serving, status
from tests.chaos.faults import Fault, Planned, Scene
from tests.chaos.history import Recorder

WHOLE_S = 90.0  # for a service to be back; more is a violation
ASK_S = 15.0  # for the short request that proves it
POLL_S = 0.05
PAUSE_S = 1.0  # in the mean, between all well and the next fault
MOMENTS = (0.3, 1.0, 3.0, 6.0, 9.0, 12.0, 20.0)  # around what the service takes for lost: 3, 5, 10
HELLO = [{"role": "user", "content": "hi"}]
PROBE = Case("probe", {"messages": HELLO, "max_tokens": 1, "temperature": 0})


@dataclass(frozen=True, slots=True)
class Kind:
    do: Fault
    who: str  # stage, head, web; two = any two of stages and head; two nodes; nobody
    held_s: tuple[float, ...] = (0.0,)  # one of these
    times: int = 1  # in each round of all kinds
    needs: str = ""  # root = of this machine; lan = a network of the run's own


KINDS: dict[str, Kind] = {
    "kill-stage": Kind(faults.kill, "stage", times=3),
    "kill-head": Kind(faults.kill, "head", times=2),
    "kill-web": Kind(faults.kill, "web"),
    "kill-web-worker": Kind(faults.kill_worker, "web"),
    "kill-two": Kind(faults.kill, "two", times=2),
    "kill-starting": Kind(faults.kill_while_starting, "any", (0.05, 0.2, 0.5, 1.0, 2.0)),
    "kill-again": Kind(faults.kill_again_and_again, "any", (0.3, 1.0)),
    "kill-and-stop": Kind(faults.kill_one_and_stop_another, "two", MOMENTS),
    "stop-stage": Kind(faults.stop, "stage", MOMENTS, times=2),
    "stop-head": Kind(faults.stop, "head", MOMENTS),
    "stop-web": Kind(faults.stop, "web", MOMENTS[:5]),
    "clients-leave": Kind(faults.leave, "nobody"),
    "spoil-packed": Kind(faults.spoil_packed, "stage"),
    "spoil-state": Kind(faults.spoil_state, "stage"),
    "spoil-shard": Kind(faults.spoil_shard, "stage", (0.5, 3.0, 6.0)),
    "no-descriptors": Kind(faults.exhaust_descriptors, "any", (1.0, 4.0, 8.0)),
    "no-memory": Kind(faults.exhaust_memory, "any", (1.0, 4.0, 8.0)),
    "memory-limit": Kind(faults.hit_memory_limit, "any", (4.0, 8.0), needs="root"),
    "slow-link": Kind(links.slow, "node", (3.0, 10.0), needs="lan"),
    "lossy-link": Kind(links.lossy, "node", (3.0, 10.0), needs="lan"),
    "partition": Kind(links.partition, "node", MOMENTS, times=2, needs="lan"),
    "one-way-partition": Kind(links.one_way, "two nodes", MOMENTS, times=2, needs="lan"),
}


def unavailable(name: str, has_lan: bool) -> str:
    """Why this kind cannot be done here; "" if it can."""
    needs = KINDS[name].needs
    if needs == "lan" and not has_lan:
        return "needs --lan, which makes network namespaces (as root)"
    if needs == "root" and (os.geteuid() != 0 or not faults.CGROUPS.exists()):
        return "needs root and the memory cgroup, version 1"
    return ""


def check(names: Sequence[str]) -> None:
    """Raises BadInput for a kind that there is not."""
    for name in names:
        if name not in KINDS:
            raise BadInput(f"{name!r} is no kind of fault; there are {', '.join(KINDS)}")


def plan(
    seed: int, count: int, kinds: Sequence[str], stages: Sequence[str], nodes: Sequence[str]
) -> list[Planned]:
    """The faults of a run, by its seed alone: rounds of all kinds, each in another order."""
    rng, planned = Random(f"faults {seed}"), list[Planned]()
    while len(planned) < count:
        turn = [name for name in kinds for _ in range(KINDS[name].times)]
        rng.shuffle(turn)
        for name in turn[: count - len(planned)]:
            planned.append(
                Planned(
                    number=len(planned) + 1,
                    what=name,
                    targets=_targets(rng, KINDS[name].who, stages, nodes),
                    held_s=rng.choice(KINDS[name].held_s),
                    pause_s=min(rng.expovariate(1 / PAUSE_S), 4 * PAUSE_S),
                    seed=rng.getrandbits(32),
                )
            )
    return planned


def _targets(rng: Random, who: str, stages: Sequence[str], nodes: Sequence[str]) -> tuple[str, ...]:
    match who:
        case "stage":
            return (rng.choice(stages),)
        case "two":
            return tuple(rng.sample([*stages, "head"], 2))
        case "any":
            return (rng.choice([*stages, "head", "web"]),)
        case "node":
            return (rng.choice(nodes),)
        case "two nodes":
            return tuple(rng.sample(list(nodes), 2))
        case "nobody":
            return ()
    return (who,)


class Nemesis:
    """tell  gets a sentence after each fault"""

    def __init__(
        self, scene: Scene, recorder: Recorder, tell: Callable[[Planned, str], None]
    ) -> None:
        self._scene, self._recorder, self._tell = scene, recorder, tell
        self._is_over = False
        self._names = set[str]()  # of the processes that there are when all is well

    def run(self, planned: Sequence[Planned]) -> None:
        """Do them all. Raises TimeoutError if the service does not come back from one."""
        self._names = set(self._scene.cluster.processes())
        for each in planned:
            if self._is_over:
                return
            time.sleep(each.pause_s)
            self._do(each)

    def stop(self) -> None:
        """Have `run` end once all is well after the fault under way; safe in a signal handler."""
        self._is_over = True

    def _do(self, each: Planned) -> None:
        before = self._scene.cluster.processes()
        old = status(self._scene.cluster)
        self._recorder.write(
            "fault", fault=each.number, what=each.what, targets=each.targets, held_s=each.held_s
        )
        detail = KINDS[each.what].do(self._scene, each)
        healed_at = time.monotonic()
        self._recorder.write("healed", fault=each.number, detail=detail)
        try:
            answered_s, whole_s = self._wait(each, before, old, healed_at)
        except TimeoutError as error:
            self._recorder.write("lasting", fault=each.number, why=str(error))
            self._tell(each, str(error))
            raise
        now = self._scene.cluster.processes()
        died = sorted(name for name, pid in before.items() if now.get(name) != pid)
        times = {"answered_s": answered_s, "whole_s": whole_s}
        self._recorder.write("whole", fault=each.number, **times, died=died)
        self._tell(each, f"answered after {answered_s:.1f} s, whole after {whole_s:.1f} s")

    def _wait(
        self,
        each: Planned,
        before: dict[str, int],
        old: dict[str, Any] | None,
        healed_at: float,
    ) -> tuple[float, float]:
        """Seconds until a request asked since is answered, and until all rings serve besides."""
        answered_s, document = None, None
        while (elapsed_s := time.monotonic() - healed_at) < WHOLE_S:
            if answered_s is None:
                answered_s = self._ask(healed_at)
            document = status(self._scene.cluster)
            if answered_s is not None and is_serving(document):
                now = self._scene.cluster.processes()
                if now.keys() == self._names and _has_begun_anew(before, now, old, document):
                    # The answer may have come from another ring, or before the loss was noticed.
                    last_s = self._ask(healed_at)
                    if last_s is not None:
                        return round(answered_s, 3), round(last_s, 3)
            time.sleep(POLL_S)
        what = "unknown" if document is None else document.get("reason") or document["state"]
        raise TimeoutError(f"not whole {elapsed_s:.0f} s after fault {each.number}: {what}")

    def _ask(self, healed_at: float) -> float | None:
        try:
            answer(self._scene.cluster.address, PROBE, ASK_S)
        except OSError:
            return None
        return time.monotonic() - healed_at


def _has_begun_anew(
    before: dict[str, int],
    now: dict[str, int],
    old: dict[str, Any] | None,
    document: dict[str, Any] | None,
) -> bool:
    """True unless a stage is another process than before, and its ring is in the same epoch."""
    if before.get("head") != now.get("head") or old is None or document is None:
        return True
    changed = {name for name, pid in now.items() if before.get(name) != pid}
    for ring, epoch, was in zip(
        document["plan"]["rings"], epochs(document), epochs(old), strict=False
    ):
        if changed.intersection(stage["node"] for stage in ring["stages"]) and epoch == was:
            return False
    return True

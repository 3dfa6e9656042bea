"""What is broken on purpose, and how it is made whole again. It knows processes and files alone."""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.chaos.cluster import Cluster, children, status

TURNS = 4
APPEAR_S = 30.0  # until a process that was killed is there again
CGROUPS = Path("/sys/fs/cgroup/memory")  # version 1
SPARE_BYTES = 256 << 10  # that a process may still take until the kernel ends it


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault: what, to whom, for how long, and with which random numbers."""

    number: int
    what: str
    targets: tuple[str, ...]
    held_s: float
    pause_s: float  # before it, since all was well
    seed: int


@dataclass(slots=True)
class Scene:
    cluster: Cluster
    leave: Callable[[], None]  # has every client close its connection

    def pid(self, name: str) -> int:
        """Wait until a process of this name is there."""
        deadline = time.monotonic() + APPEAR_S
        while (pid := self.cluster.processes().get(name)) is None:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} was not started again within {APPEAR_S:.0f} s")
            time.sleep(0.01)
        return pid


Fault = Callable[[Scene, Planned], str]  # returns when all is whole; what it did, for people


def kill(scene: Scene, planned: Planned) -> str:
    pids = [scene.pid(name) for name in planned.targets]
    for pid in pids:
        send(pid, signal.SIGKILL)
    for pid in pids:
        wait_until_gone(pid)
    return "SIGKILL"


def kill_worker(scene: Scene, planned: Planned) -> str:
    """The web's worker alone: its parent stays, and starts another."""
    (name,) = planned.targets
    for pid in children(scene.pid(name)):
        send(pid, signal.SIGKILL)
    return "SIGKILL of the worker"


def stop(scene: Scene, planned: Planned) -> str:
    with _stopped(scene.pid(planned.targets[0])):
        time.sleep(planned.held_s)
    return f"SIGSTOP, SIGCONT after {planned.held_s:.1f} s"


def kill_one_and_stop_another(scene: Scene, planned: Planned) -> str:
    first, second = (scene.pid(name) for name in planned.targets)
    with _stopped(second):
        send(first, signal.SIGKILL)
        time.sleep(planned.held_s)
    return f"SIGKILL, and SIGSTOP for {planned.held_s:.1f} s"


def kill_while_starting(scene: Scene, planned: Planned) -> str:
    """Once, and again when it has just started."""
    (name,) = planned.targets
    pid = scene.pid(name)
    send(pid, signal.SIGKILL)
    again = _successor(scene, name, pid)
    time.sleep(planned.held_s)
    send(again, signal.SIGKILL)
    return f"SIGKILL, and again {planned.held_s:.2f} s after its start"


def kill_again_and_again(scene: Scene, planned: Planned) -> str:
    """Each time that it has run for a little longer than before."""
    (name,) = planned.targets
    pid = scene.pid(name)
    send(pid, signal.SIGKILL)
    for turn in range(1, TURNS):
        pid = _successor(scene, name, pid)
        time.sleep(turn * planned.held_s)
        send(pid, signal.SIGKILL)
    return f"SIGKILL {TURNS} times"


def leave(scene: Scene, planned: Planned) -> str:
    scene.leave()
    return "all clients that stream close their connections"


def spoil_packed(scene: Scene, planned: Planned) -> str:
    """A wrong byte in the packed weights of a stage's layers, while it is down."""
    (name,) = planned.targets
    parts = _parts(scene, name)
    packed = (scene.cluster.folder / "bramble" / "packed").rglob("*")
    theirs = sorted(path for path in packed if path.name.split(".")[0] in parts)
    return _spoil(scene.pid(name), theirs, Random(planned.seed))


def spoil_state(scene: Scene, planned: Planned) -> str:
    """Wrong bytes in what stages remember of their files, while one is down."""
    pid = scene.pid(planned.targets[0])
    kept = [
        path
        for path in (scene.cluster.folder / "bramble").rglob("*")
        if path.is_file() and path.suffix not in (".onnx", ".data") and path.stat().st_size
    ]
    return _spoil(pid, sorted(kept), Random(planned.seed))


def spoil_shard(scene: Scene, planned: Planned) -> str:
    """A wrong byte in the model's files of a stage while it is down, put right after a while."""
    (name,) = planned.targets
    parts, rng = _parts(scene, name), Random(planned.seed)
    files = (scene.cluster.model / "shards").glob("*.data")
    path = rng.choice(sorted(path for path in files if path.stem in parts))
    intact = path.read_bytes()
    told = _spoil(scene.pid(name), [path], rng)
    time.sleep(planned.held_s)
    _replace(path, intact)
    return f"{told}; put right after {planned.held_s:.1f} s"


def exhaust_descriptors(scene: Scene, planned: Planned) -> str:
    """It can open nothing more for a while."""
    with _limited(scene.pid(planned.targets[0]), resource.RLIMIT_NOFILE, num_open):
        time.sleep(planned.held_s)
    return f"no descriptor more for {planned.held_s:.1f} s"


def exhaust_memory(scene: Scene, planned: Planned) -> str:
    """Whatever it allocates from the kernel is refused for a while."""
    with _limited(scene.pid(planned.targets[0]), resource.RLIMIT_AS, _address_space):
        time.sleep(planned.held_s)
    return f"no memory more for {planned.held_s:.1f} s"


def hit_memory_limit(scene: Scene, planned: Planned) -> str:
    """The kernel ends it, as MemoryMax= does, once it has taken a little more."""
    pid = scene.pid(planned.targets[0])
    group = CGROUPS / f"bramble-chaos-{os.getpid()}"
    group.mkdir(exist_ok=True)
    try:
        (group / "memory.limit_in_bytes").write_text(str(SPARE_BYTES))
        with suppress(ProcessLookupError):
            (group / "cgroup.procs").write_text(str(pid))
            time.sleep(planned.held_s)
            (CGROUPS / "cgroup.procs").write_text(str(pid))
    finally:
        _remove_group(group)
    return f"{SPARE_BYTES >> 10} KiB more allowed for {planned.held_s:.1f} s"


# --------------------------------------------------------------------------------------- how


def send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def wait_until_gone(pid: int) -> None:
    """A busy machine takes a while to end a process; until then it looks as if it had survived."""
    deadline = time.monotonic() + APPEAR_S
    while _is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.005)


def _is_there(pid: int) -> bool:
    """True unless it has ended, waited for by its parent or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def send_group(pid: int, number: signal.Signals) -> None:
    """To it and its children: each was started in a session of its own."""
    with suppress(ProcessLookupError):
        os.killpg(pid, number)


def _successor(scene: Scene, name: str, pid: int) -> int:
    """Wait for the process that takes the place of `pid`."""
    deadline = time.monotonic() + APPEAR_S
    while (found := scene.pid(name)) == pid and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def _spoil(pid: int, paths: list[Path], rng: Random) -> str:
    """Flip bits of a byte of one of the files while the process is down.

    The file is replaced, not written: another process that has it mapped keeps what it has.
    """
    send_group(pid, signal.SIGSTOP)  # it is started again the moment it is gone
    told = "there was no file to spoil"
    if paths:
        path = rng.choice(paths)
        content = bytearray(path.read_bytes())
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
        _replace(path, bytes(content))
        told = f"byte {place} of {len(content)} in {path.name}"
    send_group(pid, signal.SIGKILL)
    wait_until_gone(pid)
    return told


def _parts(scene: Scene, name: str) -> set[str]:
    """The parts of the model that this stage runs, as the head says."""
    document = status(scene.cluster)
    assert document is not None, "faults begin when all is well"
    for ring in document["plan"]["rings"]:
        for stage in ring["stages"]:
            if stage["node"] == name:
                layers = {f"layer-{i:03}" for i in range(stage["start"], stage["stop"])}
                ends = {"embed": stage["has_embed"], "lm_head": stage["has_lm_head"]}
                return layers | {part for part, is_there in ends.items() if is_there}
    raise AssertionError(f"no stage of {name}")


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(f"{path.name}.chaos")
    beside.write_bytes(content)
    beside.rename(path)


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    send_group(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        send_group(pid, signal.SIGCONT)


@contextmanager
def _limited(pid: int, what: int, used: Callable[[int], int]) -> Iterator[None]:
    try:
        soft, hard = resource.prlimit(pid, what)
        resource.prlimit(pid, what, (used(pid), hard))
    except (ProcessLookupError, FileNotFoundError):
        yield
        return
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, what, (soft, hard))


def num_open(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _address_space(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmSize:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


def _remove_group(group: Path) -> None:
    """A group goes once the last of its processes has."""
    deadline = time.monotonic() + APPEAR_S
    while time.monotonic() < deadline:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (CGROUPS / "cgroup.procs").write_text(pid)
        with suppress(OSError):
            group.rmdir()
            return
        time.sleep(0.1)

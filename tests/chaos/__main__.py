"""`make chaos`: break a ring on this machine many times, under load, and judge what it said."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path

import bramble
from bramble.errors import BadInput, BrambleError

from tests.chaos import nemesis
from tests.chaos.asking import answer, reference
from tests.chaos.cases import QUESTIONS, Case, cases
from tests.chaos.checker import Violation, check
from tests.chaos.cluster import Cluster, cached_model, local, status
from tests.chaos.crowd import Crowd
from tests.chaos.faults import Planned, Scene
from tests.chaos.history import FORMAT, BadHistory, Line, Recorder, read
from tests.chaos.lan import lan
from tests.chaos.report import report
from tests.chaos.sampler import Sampler

WEIGHTS = ("int8", "int4", "float32")
REST_S = 150.0  # until the head gives up who may come back: two minutes
DESCRIPTION = """Start a ring of the embedded model as `bramble run` does, have clients ask it, and
kill, stop, starve and spoil its processes one after another. All that was asked and answered is
written down, and judged: each accepted request ends once, with the text of an undisturbed run."""


@dataclass(frozen=True, slots=True)
class Settings:
    faults: int
    seed: int
    weights: str = "int8"
    stages: int = 3
    rings: int = 1
    clients: int = 6
    questions: int = len(QUESTIONS)
    kinds: tuple[str, ...] = ()
    has_lan: bool = False


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=DESCRIPTION)
    add = parser.add_argument
    add("--faults", type=int, default=100, help="how many (default: 100)")
    add("--seed", type=int, default=1, help="of faults and clients (default: 1)")
    add("--weights", choices=WEIGHTS, default="int8", help="(default: int8)")
    add("--stages", type=int, default=3, help="of each ring (default: 3)")
    add("--rings", type=int, default=1, help="with the whole model each (default: 1)")
    add("--clients", type=int, default=6, help="that ask at once (default: 6)")
    add("--only", default="", help="kinds of faults, with commas")
    add("--without", default="", help="kinds to leave out, with commas")
    add("--lan", action="store_true", help="each node in a network namespace (as root)")
    add("--out", type=Path, default=Path("build/chaos"), help="folder of history and report")
    add("--check", type=Path, help="judge this history again, and run nothing")
    args = parser.parse_args(arguments)
    try:
        if args.check:
            return judge(args.check, args.check.with_suffix(".md"), "")
        settings = Settings(
            *(args.faults, args.seed, args.weights, args.stages, args.rings, args.clients),
            kinds=_kinds(args),
            has_lan=args.lan,
        )
        args.out.mkdir(parents=True, exist_ok=True)
        name = f"{args.weights}-{args.rings}x{args.stages}-{args.faults}-seed-{args.seed}"
        history = args.out / f"{name}.jsonl"
        repeat = f'make chaos ARGS="{_repeated(args)}"'
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            run(settings, history, Path(folder))
        return judge(history, args.out / f"{name}.md", repeat)
    except (BrambleError, BadHistory) as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadInput) else 1


def run(settings: Settings, history: Path, folder: Path) -> None:
    """Break a service as the settings say; `folder` takes its files, `history` what happened."""
    asked = cases(settings.questions)
    model = cached_model(settings.weights)
    recorder = Recorder(history)
    with ExitStack() as stack:
        stack.callback(recorder.close)
        recorder.write("run", format=FORMAT, **_described(settings))
        _write_references(recorder, model, folder / "undisturbed", asked)
        cluster = stack.enter_context(_started(settings, model, folder / "broken"))
        stack.callback(lambda: shutil.copy(cluster.log, history.with_suffix(".log")))
        crowd = Crowd(recorder, cluster.address, asked, settings.clients, settings.seed)
        sampler = Sampler(recorder, cluster)
        sampler.start()
        crowd.start()
        try:
            _break(settings, cluster, crowd, recorder)
        finally:
            crowd.finish()
            sampler.finish()
        _write_rest(recorder, cluster)


def _repeated(args: argparse.Namespace) -> str:
    names = ("faults", "seed", "weights", "stages", "rings", "clients", "only", "without")
    words = [f"--{name} {value}" for name in names if (value := getattr(args, name)) != ""]
    return " ".join([*words, *(["--lan"] if args.lan else [])])


def _started(settings: Settings, model: Path, folder: Path) -> AbstractContextManager[Cluster]:
    if settings.has_lan:
        return lan(model, folder, settings.stages, settings.rings)
    flags = [f"--stages={settings.stages}", f"--replicas={settings.rings}"]
    return local(model, folder, *flags)


def judge(history: Path, page: Path, repeat: str) -> int:
    """Write the report; 0 if there was no violation, else 1."""
    with history.open(encoding="utf-8") as texts:
        lines = read(texts)
    violations = check(lines)
    page.write_text(report(lines, violations, repeat), encoding="utf-8")
    _tell(summary(lines, violations))
    _tell(f"history: {history}, report: {page}")
    return 1 if violations else 0


def summary(lines: Sequence[Line], violations: Sequence[Violation]) -> str:
    counts = {kind: sum(line.kind == kind for line in lines) for kind in ("fault", "accepted")}
    rules = sorted({violation.rule for violation in violations})
    found = f"{len(violations)} violations: {', '.join(rules)}" if rules else "no violation"
    return f"{counts['fault']} faults, {counts['accepted']} accepted requests, {found}"


def _kinds(args: argparse.Namespace) -> tuple[str, ...]:
    only, without = (list(filter(None, text.split(","))) for text in (args.only, args.without))
    nemesis.check([*only, *without])
    chosen = []
    for name in only or nemesis.KINDS:
        why = nemesis.unavailable(name, args.lan)
        if why:
            _tell(f"left out: {name}: {why}")
        elif name not in without:
            chosen.append(name)
    if not chosen:
        raise BadInput("no kind of fault is left")
    return tuple(chosen)


def _described(settings: Settings) -> dict[str, object]:
    load = os.getloadavg()[0]
    return {
        "seed": settings.seed,
        "weights": settings.weights,
        "stages": settings.stages,
        "rings": settings.rings,
        "clients": settings.clients,
        "release": bramble.__version__,
        "commit": _commit(),
        "cores": os.cpu_count(),
        "load before": round(load, 2),
        "began": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "kinds": ", ".join(settings.kinds),
    }


def _commit() -> str:
    words = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip() or "unknown"


def _write_references(recorder: Recorder, model: Path, folder: Path, asked: list[Case]) -> None:
    _tell(f"asking {len(asked)} questions of an undisturbed service …")
    with local(model, folder, "--stages=1", "--speculation=off") as alone:
        for case in asked:
            recorder.write("reference", **reference(case, answer(alone.address, case)))


def _break(settings: Settings, cluster: Cluster, crowd: Crowd, recorder: Recorder) -> None:
    stages = [f"stage-{i}" for i in range(settings.stages * settings.rings)]
    nodes = list(cluster.namespaces)
    planned = nemesis.plan(settings.seed, settings.faults, settings.kinds, stages, nodes)
    began = time.monotonic()

    def tell(each: Planned, said: str) -> None:
        left_s = (time.monotonic() - began) / each.number * (len(planned) - each.number)
        who = " and ".join(each.targets)
        left = f"{left_s / 60:.0f} min left"
        _tell(f"{each.number}/{len(planned)}, {left}: {each.what}, {who or 'all'}: {said}")

    breaking = nemesis.Nemesis(Scene(cluster, crowd.leave), recorder, tell)

    def end(*_: object) -> None:
        _tell("the run ends with the fault under way; what there is gets judged …")
        breaking.stop()

    before = signal.signal(signal.SIGINT, end)
    try:
        breaking.run(planned)
    except TimeoutError as error:
        _tell(f"the run ends here: {error}")
    finally:
        signal.signal(signal.SIGINT, before)


def _write_rest(recorder: Recorder, cluster: Cluster) -> None:
    """Say what the head still works on once all clients are gone."""
    deadline = time.monotonic() + REST_S
    counts = {"running": -1, "queued": -1}
    while time.monotonic() < deadline and any(counts.values()):
        document = status(cluster)
        if document is not None:
            counts = {key: document["requests"][key] for key in counts}
        time.sleep(0.1)
    recorder.write("rest", **counts)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

"""`make bench`: Bramble beside onnxruntime alone and llama.cpp, on this machine, in one run."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bramble
from bramble.errors import BadInput, BrambleError
from bramble.export.quantize import KINDS as WEIGHTS
from bramble.model import manifest as manifests
from bramble.model.manifest import layer_name

from tests.bench import network, report
from tests.bench.cache import FORMATS, LLAMA_CPP, Cache, check_compiler, default_folder
from tests.bench.ceiling import ceiling, reader
from tests.bench.llama import Llama
from tests.bench.processes import Place, Site, core, loopback
from tests.bench.ring import Group, Replicas, Ring
from tests.bench.rounds import Bench, Contender, tasks

SHAPES = ("llama-3.2-1b", "tinyllama-1.1b", "qwen2.5-0.5b", "llama-3.2-3b")
KINDS = ("ring", "group", "ceiling", "llama", "memory")
STREAMS, QUICK_STREAMS = (1, 2, 4, 8, 16), (4, 8, 16)
ROUNDS, QUICK_ROUNDS = 3, 1
PLOT = Path(__file__).parent / "plot.py"
DESCRIPTION = """Measure a Bramble ring of 1, 2 and 3 stages with a core each, and a group of two,
beside plain onnxruntime over the same files, llama.cpp alone and over its RPC servers, and this
machine's memory. The contenders are taken in turn, several rounds. Random weights of a real shape;
what is needed is made once and kept."""
EXAMPLE = """examples:
  make bench                                        the whole: three rounds, perhaps an hour
  make bench ARGS="--quick"                         what the bounds need, once: about 6 minutes
  make bench ARGS="--shape qwen2.5-0.5b --only ring,ceiling"     nothing is built
  make bench ARGS="--network 1gbit --json ring.json --plot ring.png"   as root

A ratio is believable, a speed only as far as this machine was quiet.
"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--shape", choices=SHAPES, default=SHAPES[0], help=f"default: {SHAPES[0]}")
    add("--quant", choices=WEIGHTS, default="int4", help="of Bramble's weights (default: int4)")
    add("--quick", action="store_true", help="one round of the measurements with a bound")
    add("--rounds", type=int, help=f"default: {ROUNDS}; with --quick {QUICK_ROUNDS}")
    add(
        "--only",
        default=",".join(KINDS),
        help="some of ring,group,ceiling,llama,memory (default: all)",
    )
    add("--network", metavar="RATE", help="a namespace per stage, cables of e.g. 1gbit; as root")
    add("--cache", type=Path, default=default_folder(), help="default: %(default)s")
    add("--json", type=Path, metavar="FILE", help="default: results/ in the cache folder")
    add("--plot", type=Path, metavar="FILE", help="PNG (default: beside the JSON)")
    add("--no-plot", action="store_true", help="draw nothing; matplotlib is then not installed")
    return made


def run(args: argparse.Namespace) -> int:
    """Prepare, measure, and write down. Returns 1 if a contender failed."""
    kinds = _kinds(args.only)
    rounds = args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS)
    cache = Cache(args.cache.resolve(), tell)
    if "llama" in kinds:
        check_compiler()
    model = cache.model(args.shape, args.quant)
    if not args.no_plot:
        cache.python()
    with _site(args.network) as site:
        groups = list(_groups(args, kinds, cache, model, site))
        streams = QUICK_STREAMS if args.quick else STREAMS
        bench = Bench(groups, tasks(streams, has_restart="3b" not in args.shape), tell)
        is_whole = _measure(bench, rounds)
    about = _about(args, rounds)
    found = report.document(about, bench.samples, _token_bytes(model, groups), bench.failures)
    print(report.markdown(about, bench.samples, found))
    _write(args, cache, found)
    return 130 if not is_whole else 1 if bench.failures else 0


def _measure(bench: Bench, rounds: int) -> bool:
    """False if Ctrl-C ended it; what was measured until then is told all the same."""
    try:
        bench.run(rounds)
    except KeyboardInterrupt:
        tell("ended early; what was measured until now:")
        return False
    return True


def _groups(
    args: argparse.Namespace, kinds: set[str], cache: Cache, model: Path, site: Site
) -> Iterator[list[Contender]]:
    """Yield those that stand in one ratio together; llama.cpp's formats apart, to save memory."""
    here = Place("127.0.0.1")
    thread_counts = (1,) if args.quick or os.cpu_count() == 1 else (1, 2)
    cores = [here.on(*map(core, range(threads))) for threads in thread_counts]
    first: list[Contender] = []
    if "memory" in kinds:
        first += [reader(place, len(place.cores)) for place in cores]
    if "ceiling" in kinds:
        first += [ceiling(model, place, len(place.cores)) for place in cores]
    if "ring" in kinds:
        for count in (1, 2) if args.quick else (1, 2, 3):
            part = Site(site.head, site.stages[:count])
            first.append(Ring(model, cache.packed, part))
        first.append(Replicas(model, cache.packed, Site(site.head, site.stages[:2])))
    if "group" in kinds:
        # Loopback carries float32 in no time
        exchange = "q8" if args.network else "float32"
        part = Site(site.head, site.stages[:2])
        first.append(Group(model, cache.packed, part, exchange))
    if first:
        yield first
    if "llama" in kinds:
        vocab = manifests.read(model).shape.vocab_size
        for kind in FORMATS[1:] if args.quick else FORMATS:
            tools, file = cache.llama(), cache.gguf(args.shape, kind)
            over_rpc = Llama.over_rpc(tools, file, vocab, Site(site.head, site.stages[:2]))
            alone = [Llama(tools, file, vocab, place, len(place.cores)) for place in cores]
            yield [over_rpc] if args.quick else [over_rpc, *alone]


@contextmanager
def _site(rate: str | None) -> Iterator[Site]:
    if rate is None:
        yield loopback(3)
        return
    network.check(rate)
    with network.lan(3, rate) as site:
        yield site


def _token_bytes(model: Path, groups: list[list[Contender]]) -> dict[str, int]:
    """Contender → bytes of weights that one token reads; of an embedding it reads one row."""
    manifest = manifests.read(model)
    layers = [layer_name(index) for index in range(manifest.shape.num_layers)]
    ours = manifest.part_bytes(*layers, "lm_head")
    found = {}
    for contender in (each for group in groups for each in group):
        if isinstance(contender, Llama):
            if manifest.is_tied:  # else its file holds an embedding beside what is read
                found[contender.name] = contender.file_bytes
        else:
            found[contender.name] = ours
    return found


def _about(args: argparse.Namespace, rounds: int) -> dict[str, Any]:
    return {
        "shape": args.shape,
        "quantization": args.quant,
        "bramble": bramble.__version__,
        "onnxruntime": version("onnxruntime"),
        "llama-cpp-python": LLAMA_CPP,
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "network": args.network or "loopback",
        "rounds": rounds,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return "unknown"


def _write(args: argparse.Namespace, cache: Cache, found: dict[str, Any]) -> None:
    stamp = found["ended"][:16].replace(":", "").replace("-", "")
    target = args.json or cache.folder / "results" / f"{args.shape}-{args.quant}-{stamp}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    tell(f"figures: {target}")
    if not args.no_plot:
        picture = args.plot or target.with_suffix(".png")
        subprocess.run([str(cache.python()), str(PLOT), str(target), str(picture)], check=True)
        tell(f"plot: {picture}")


def _kinds(text: str) -> set[str]:
    kinds = set(text.split(","))
    if not kinds <= set(KINDS):
        raise BadInput(f"--only {text}: need some of {','.join(KINDS)}")
    return kinds


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends every child, as Ctrl-C does
    try:
        return run(parser().parse_args())
    except BadInput as error:
        tell(str(error))
        return 2
    except BrambleError as error:
        tell(str(error))
        return 1
    except KeyboardInterrupt:
        tell("ended; nothing was written")
        return 130


if __name__ == "__main__":
    sys.exit(main())

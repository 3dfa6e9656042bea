"""`make fuzz`: feeds one target with bytes that reach ever more of the code. By hand, for hours.

It needs atheris, which `make fuzz` installs and no test needs. What is found is written to
build/fuzz/TARGET-crash-…; once it is mended, keep it below kept/TARGET/.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import atheris

from tests.fuzz.mutate import JSON, mutate_bytes, mutate_json

KEPT = Path(__file__).parent / "kept"
MAX_MEMORY = 4 << 30


def mutator(separator: bytes) -> Callable[[bytes, int, int], bytes]:
    """One for libFuzzer, that changes values of JSON mostly, and bytes now and then."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = Random(seed)
        made = mutate_json(data, separator, chance)
        if made is None or chance.random() < 0.2:
            return bytes(atheris.Mutate(data, max_size))
        return made[:max_size]

    return mutate


def anew(right: list[bytes]) -> Callable[[bytes, int, int], bytes]:
    """One that begins at a right input each time: what a library in C does gives no coverage."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = Random(seed)
        return mutate_bytes(chance.choice(right), chance)[:max_size]

    return mutate


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--list", action="store_true", help="the targets, a line each")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, help="grows with what reached new code")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["bramble"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
        seeds = importlib.import_module("tests.fuzz.seeds").seeds
    if args.list:
        print("\n".join(targets))
        return
    if args.target not in targets:
        parser.error(f"no target {args.target!r}; there are {', '.join(sorted(targets))}")
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY * 4, resource.RLIM_INFINITY))
    corpus = args.corpus or Path("build/fuzz") / args.target
    corpus.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={args.seconds}",
        "-timeout=10",
        "-rss_limit_mb=3000",
        "-max_len=4096",
        "-len_control=0",
        "-print_final_stats=1",
        f"-artifact_prefix={corpus.parent}/{args.target}-",
    ]
    for number, seed in enumerate(seeds(args.target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    kept = [str(KEPT / args.target)] if (KEPT / args.target).is_dir() else []
    more = {"custom_mutator": mutator(JSON[args.target])} if args.target in JSON else {}
    if args.target == "greeting":
        more = {"custom_mutator": anew(seeds("greeting"))}
    command = [sys.argv[0], str(corpus), *kept, *options]
    atheris.Setup(command, targets[args.target], **more)
    print(f"{args.target}: from {time.strftime('%H:%M')} for {args.seconds} s", flush=True)
    atheris.Fuzz()


main()

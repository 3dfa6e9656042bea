"""`make fuzz`: feeds one target with bytes that reach ever more of the code. By hand, for hours.

It needs atheris, which `make fuzz` installs and no test needs. What is found is written to the
working folder as crash-…; once it is mended, keep it below kept/TARGET/.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import random
import re
import resource
import sys
import time
from pathlib import Path
from typing import Any

import atheris

KEPT = Path(__file__).parent / "kept"
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, float("nan")),
    *("", "\0", "x", "BPE", "\ud800", "../x", "/etc/passwd", "ByteLevel", "ByteFallback", "9" * 50),
    *([], {}, [[]], {"type": "Sequence"}, {"content": "x"}, [None], {"": {}}),
]
MAX_MEMORY = 4 << 30


JSON = {"manifest": b"", "tokenizer": b"\0", "architecture": b"", "body": b""}  # parts are split by


def mutate_json(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one value or name somewhere in a document, and the bytes now and then."""
    chance = random.Random(seed)
    parts = re.split(rb"(\0|\A[01])", data)
    index = chance.randrange(len(parts))
    try:
        changed = json.dumps(_change(json.loads(parts[index]), chance)).encode()
    except (ValueError, RecursionError):
        return atheris.Mutate(data, max_size)
    if chance.random() < 0.2:
        return atheris.Mutate(data, max_size)
    return b"".join([*parts[:index], changed, *parts[index + 1 :]])[:max_size]


def _change(value: Any, chance: random.Random) -> Any:
    """The value with something else at one place, each as likely as its depth allows."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        key = chance.choice(list(value))
        match chance.randrange(8):
            case 0:
                return {k: v for k, v in value.items() if k != key}
            case 1:
                return value | {chance.choice([key + "x", "", "type", "__type"]): value[key]}
            case _:
                return value | {key: _change(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.85:
        at = chance.randrange(len(value))
        match chance.randrange(8):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value[: at + 1] + value[at:]
            case _:
                return [*value[:at], _change(value[at], chance), *value[at + 1 :]]
    if isinstance(value, int) and chance.random() < 0.5:
        return value + chance.choice([-1, 1, 1 << 31, -(1 << 63), 1 << 64])
    return chance.choice(ODD)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", default="")
    parser.add_argument("--list", action="store_true", help="the targets, a line each")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path, help="grows with what reached new code")
    parser.add_argument("more", nargs="*", help="options of libFuzzer, behind --")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["bramble"]):
        targets = importlib.import_module("tests.fuzz.targets").TARGETS
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
    ]
    seeds = [str(KEPT / args.target)] if (KEPT / args.target).is_dir() else []
    more = {"custom_mutator": mutate_json} if args.target in JSON else {}
    command = [sys.argv[0], str(corpus), *seeds, *options, *args.more]
    atheris.Setup(command, targets[args.target], **more)
    print(f"{args.target}: from {time.strftime('%H:%M')} for {args.seconds} s", flush=True)
    atheris.Fuzz()


main()

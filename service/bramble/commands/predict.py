"""`bramble predict`: what a stack of boards would give with a model, before anything is bought."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path

from bramble.commands.predict_check import show_check
from bramble.commands.predict_plot import plot
from bramble.commands.predict_show import (
    PUBLISHED_BASIS,
    calibrated_basis,
    document,
    show,
    show_compared,
)
from bramble.errors import BadInput
from bramble.export.synthetic import SHAPES, decoder_of
from bramble.model import manifest as manifests
from bramble.model.manifest import (
    BYTES_PER_WEIGHT,
    DEFAULT_QUANTIZATION,
    FILE_NAME,
    Manifest,
)
from bramble.plan import cache_kind
from bramble.plan.calibration import Bench, calibrate, compare, read_bench
from bramble.plan.devices import DEVICES, LINKS, Device
from bramble.plan.exchange_time import FORMS, Q8
from bramble.plan.paper import MIXTURES, paper_manifest
from bramble.plan.predictor import Setup, predict
from bramble.plan.rings import OBJECTIVES, THROUGHPUT, Work

MAX_BOARDS = 32
DEFAULT_LENGTH = 8192  # tokens; as the head has it
EXAMPLES = """examples:
  bramble predict --nodes 4x pi5-16gb --model llama-3.1-8b
  bramble predict --nodes 3x pi5-8gb 1x pi5-4gb --model qwen3-4b --objective latency --prompt 2000
  bramble predict --nodes 4x pi5-8gb --model llama-3.1-8b --objective latency --exchange float16
  bramble predict --nodes 8xpi5-8gb --model llama-3.1-8b --plot speed.png
  bramble predict --nodes 2x pi5-8gb --model models/llama --calibration bench.json
  bramble predict --nodes pi5-8gb --model llama-3.2-1b --calibration one.json --against three.json
  bramble predict --check                  the predictor against what others measured
"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "predict",
        help="say what a stack of boards would give with a model",
        description="Predict fit, tokens/s, time to the first token and watts of a model on a "
        "stack of boards, from published figures or a bench of yours. Ends with 2 where the "
        "model does not fit. Boards: " + ", ".join(DEVICES) + ".",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--nodes", nargs="+", metavar="N", help="boards in the ring's order: 4x pi5-16gb …")
    add("--model", help=f"a model folder, or a shape: {', '.join([*SHAPES, *MIXTURES])}")
    add(
        "--quant",
        default=DEFAULT_QUANTIZATION,
        help=f"{', '.join(BYTES_PER_WEIGHT)} (default: {DEFAULT_QUANTIZATION}); not of a folder",
    )
    add("--link", default="1gbe", choices=LINKS, help="between the boards (default: 1gbe)")
    add("--objective", default=THROUGHPUT, choices=OBJECTIVES, help="(default: throughput)")
    add("--prompt", type=int, default=512, help="tokens of a prompt (default: 512)")
    add("--reply", type=int, default=128, help="tokens of a reply (default: 128)")
    add("--kv", choices=cache_kind.KINDS, default=cache_kind.AUTO, help=cache_kind.HELP)
    add("--exchange", choices=FORMS, default=Q8, help="numbers that a group exchanges (q8)")
    add("--streams", default="1,2,4,8,16", help="at once (default: 1,2,4,8,16)")
    add("--calibration", type=Path, help="what `bramble bench --json` printed on such a node")
    add("--against", type=Path, help="compare the calibrated predictor with this other bench")
    add("--plot", type=Path, metavar="FILE.png", help="tokens/s over the number of nodes")
    add("--check", action="store_true", help="compare the predictor with published speeds")
    add("--json", action="store_true", help="as JSON, for programs")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    if args.check:
        return show_check(args.json)
    if not args.nodes or not args.model:
        raise BadInput(
            "need --nodes and --model (or --check): --nodes 4x pi5-16gb --model qwen3-4b"
        )
    if args.against is not None and args.calibration is None:
        raise BadInput("--against goes with --calibration: what is compared is calibrated first")
    manifest = _manifest(args.model, args.quant)
    boards, link, basis = _boards(args.nodes), LINKS[args.link], PUBLISHED_BASIS
    if args.calibration is not None:
        bench, measured = _measured(args.calibration, args)
        pace = calibrate(bench, measured, link)
        boards = tuple(replace(board, pace=pace) for board in boards)
        basis = calibrated_basis(bench, pace, compare(bench, measured, pace, link))
        if args.against is not None:
            other, manifest = _measured(args.against, args)
            show_compared(other, compare(other, manifest, pace, link), args.json)
            return 0
    setup = Setup(boards, args.objective, _work(args, manifest), _streams(args), link)
    prediction = predict(manifest, setup)
    if args.plot is not None:
        plot(args.plot, manifest, setup)
    if args.json:
        print(json.dumps(document(manifest, setup, prediction), indent=1, ensure_ascii=False))
    else:
        show(manifest, setup, prediction, basis)
    return 0


def _manifest(name: str, kind: str) -> Manifest:
    if name in SHAPES:
        decoder = decoder_of(name)
        return paper_manifest(name, decoder.shape, decoder.is_tied, kind)
    if name in MIXTURES:
        shape, experts = MIXTURES[name]
        return paper_manifest(name, shape, False, kind, experts)
    if not (Path(name) / FILE_NAME).is_file() and not Path(name).is_file():
        known = ", ".join([*SHAPES, *MIXTURES])
        raise BadInput(f"--model {name}: neither a model folder nor one of the shapes {known}")
    return manifests.read(Path(name))


def _boards(words: list[str]) -> tuple[Device, ...]:
    """Read 4x pi5-16gb, 4xpi5-16gb, or a bare pi5-16gb; several with blanks or commas."""
    text = " ".join(words).replace(",", " ")
    boards: list[Device] = []
    count = 0
    for number, name in re.findall(r"(?:(\d+)\s*[x×]\s*)?(\S+)", text):
        if name not in DEVICES:
            raise BadInput(f"--nodes {text}: {name!r} is unknown; known are {', '.join(DEVICES)}")
        count += int(number or 1)
        boards += [DEVICES[name]] * min(int(number or 1), MAX_BOARDS)
    if not 1 <= count <= MAX_BOARDS:
        raise BadInput(f"--nodes {text}: {count} boards, it has to be 1 to {MAX_BOARDS}")
    return tuple(boards)


def _measured(path: Path, args: argparse.Namespace) -> tuple[Bench, Manifest]:
    """A bench, and the model that it ran."""
    bench = read_bench(path)
    name = bench.model.removeprefix("synthetic-")
    # A bench names its model, not its folder; the folder asked for may well be that one.
    manifest = _manifest(name if name in SHAPES else args.model, args.quant)
    if name != manifest.name.removeprefix("synthetic-"):
        raise BadInput(
            f"{path} is a bench of {bench.model}, which is not known here; bench the model of "
            "--model, or one of the shapes: bramble export --synthetic llama-3.2-1b"
        )
    return bench, manifest


def _work(args: argparse.Namespace, manifest: Manifest) -> Work:
    length = min(manifest.shape.max_length, DEFAULT_LENGTH)
    if args.prompt < 1 or args.reply < 1 or args.prompt + args.reply > length:
        raise BadInput(
            f"--prompt {args.prompt} and --reply {args.reply}: each has to be 1 or more, "
            f"both together {length} or less"
        )
    kind = cache_kind.cache_kind(manifest, args.kv, [cache_kind.ARM])
    return Work(max(_streams(args)), length, args.prompt, args.reply, kind, args.exchange)


def _streams(args: argparse.Namespace) -> tuple[int, ...]:
    try:
        streams = tuple(int(word) for word in args.streams.split(","))
    except ValueError:
        streams = (0,)
    if min(streams) < 1:
        raise BadInput(f"--streams {args.streams}: need numbers with commas, such as 1,2,4,8")
    return streams

"""`bramble export`: flags in, a model folder and one line of summary out."""

from __future__ import annotations

import argparse
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TimeRemainingColumn

from bramble.errors import BadInput
from bramble.export import api
from bramble.export.quantize import KINDS
from bramble.export.synthetic import SHAPES
from bramble.model.disk import size
from bramble.model.manifest import (
    DEFAULT_QUANTIZATION,
    EXACT_QUANTIZATION,
    Fidelity,
    Manifest,
)

EXAMPLES = """examples:
  bramble export meta-llama/Llama-3.2-1B-Instruct models/llama   from the hub (HF_TOKEN if gated)
  bramble export ~/Downloads/Qwen3-4B models/qwen --lm-head int8
  bramble export Qwen3-4B-Q4_0.gguf models/qwen                  a GGUF file; Q4_0 stays as it is
  bramble export --embedded models/bramble-demo                  the demonstration model
  bramble export --synthetic llama-3.1-8b /tmp/8b                random weights, for benchmarks
"""

# Read by huggingface_hub when it is imported, which api.py does only for a hub id: no telemetry,
# and plain HTTP, whose interrupted files resume by Range. Set to 0 in the environment to undo.
HUB_SETTINGS = ("HF_HUB_DISABLE_TELEMETRY", "HF_HUB_DISABLE_XET")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "export",
        help="turn a Hugging Face model into a model folder",
        description="Write a model folder from a Hugging Face folder, GGUF file or hub id: one "
        "ONNX model per layer, quantised, with checksums. Needs no GPU, no torch, little memory.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", nargs="?", metavar="SOURCE", help="a folder, a GGUF file or a hub id")
    add("dest", type=Path, metavar="DEST", help="the model folder to write")
    default = (
        f"on a Pi {DEFAULT_QUANTIZATION}, where that divides the model; elsewhere "
        f"{EXACT_QUANTIZATION}; of --embedded int8"
    )
    add("--quant", choices=KINDS, help=f"of the weights (default: {default})")
    add("--embed", choices=KINDS, help="of the embedding (default: as --quant)")
    add("--lm-head", choices=KINDS, help="of the last projection (default: as --quant)")
    add(
        "--no-calibration",
        action="store_true",
        help="round int4 weights one by one: exports sooner, farther from the original",
    )
    add("--revision", help="the hub's branch, tag or commit (default: its main branch)")
    add("--synthetic", metavar="SHAPE", help=f"random weights: {', '.join(SHAPES)}")
    add("--embedded", action="store_true", help="the demonstration model that ships with Bramble")
    add("--force", action="store_true", help="replace DEST if it exists")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export and summarise. SIGTERM ends it as Ctrl-C does: nothing is left behind."""
    if (args.source is not None) + (args.synthetic is not None) + args.embedded != 1:
        raise BadInput("give one of: SOURCE DEST, --synthetic SHAPE DEST, --embedded DEST")
    quantization = args.quant or (
        api.EMBEDDED_QUANTIZATION if args.embedded else default_quantization(platform.machine())
    )
    options = api.Options(
        quantization,
        args.embed,
        args.lm_head,
        args.revision,
        args.force,
        is_calibrated=not args.no_calibration,
        is_default=args.quant is None,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    for name in HUB_SETTINGS:
        os.environ.setdefault(name, "1")
    started = time.monotonic()
    with _progress() as progress:
        if args.synthetic:
            manifest = api.export_synthetic(args.synthetic, args.dest, options, progress)
        elif args.embedded:
            manifest = api.export_embedded(args.dest, options, progress)
        else:
            manifest = api.export(args.source, args.dest, options, progress)
    for warning in manifest.extra.get("warnings", []):
        print(f"warning: {warning}", file=sys.stderr)
    for note in manifest.extra.get("notes", []):
        print(note, file=sys.stderr)
    print(_summary(manifest, args.dest, time.monotonic() - started))
    return 0


def default_quantization(machine: str) -> str:
    """The kind of weights for who names none, by `platform.machine()` of who exports."""
    return DEFAULT_QUANTIZATION if machine == "aarch64" else EXACT_QUANTIZATION


def _summary(manifest: Manifest, dest: Path, seconds: float) -> str:
    written = sum(file.bytes for file in manifest.files.values())
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
    return (
        f"{dest}: {manifest.architecture}, {manifest.num_parameters / 1e9:.2f}B parameters, "
        f"{manifest.quantization.layers}, {size(written)} in {seconds:.0f} s, "
        f"peak memory {size(peak_bytes)}{_cost(manifest.fidelity)}"
    )


def _cost(fidelity: Fidelity | None) -> str:
    """What quantisation cost, if that was measured."""
    if fidelity is None:
        return ""
    return (
        "; against the float32 original: the same most likely token at "
        f"{100 * fidelity.same_first:.3g} % of {fidelity.tokens} places, "
        f"{fidelity.divergence:.2g} nats apart"
    )


@contextmanager
def _progress() -> Iterator[api.Progress]:
    """One bar per phase on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, total: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=total)
            bars.update(tasks[phase], completed=done)

        yield show


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

"""`make count`: what a token costs a Cortex-A76, counted under emulation, as tables.

Counts do not depend on how busy the machine is. They tell compute, not memory: what a token reads
is in the table of packed bits.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bramble.export.quantize import BITS
from bramble.export.synthetic import SHAPES

from tests.count.emulated import HERE, Emulated, here, prepare
from tests.count.marks import counted
from tests.count.models import INPUTS, OUTPUTS, VOCAB_SHARE, make, make_matrices

KINDS = tuple(BITS)
FULL = "int4-64"  # the model with which all is counted that does not depend on weights
SECONDS = 3600  # for one model, on a machine that does other things too


def main() -> None:
    parser = argparse.ArgumentParser(prog="make count", description=__doc__)
    parser.add_argument("--shape", default="llama-3.2-1b", choices=SHAPES)
    parser.add_argument("--quant", nargs="*", default=KINDS, choices=KINDS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bramble-count-") as name:
        folder = Path(name)
        emulated = prepare(folder)
        make_matrices(folder / "matrices")
        _show_packed(emulated, folder / "matrices")
        _show_exchange(emulated)
        for kind in args.quant:
            _show(args.shape, kind, _count(emulated, args.shape, kind, folder))
        _show_exchange(emulated)


def _show_packed(emulated: Emulated, matrices: Path) -> None:
    script = HERE / "packed.py"
    print("bits per weight, packed", flush=True)
    there, _ = emulated.run(script, matrices, seconds=SECONDS)
    columns = [json.loads(text)["packed"] for text in (there, here(script, matrices))]
    print(f"  {'':20} {'aarch64':>8} {'here':>8}")
    for kind in KINDS:
        bits = [_slope(column[kind]) for column in columns]
        print(f"  {kind:20} {bits[0]:8.2f} {bits[1]:8.2f}", flush=True)


def _show_exchange(emulated: Emulated) -> None:
    found = counted(*emulated.run(HERE / "exchange.py", seconds=SECONDS))
    print("\na member's exchange with one other: thousand instructions, without the kernel's")
    for name, total in found.items():
        print(f"  {name:24} {total / 2 / 1000:8.0f}", flush=True)


def _slope(packed: Mapping[str, int]) -> float:
    """Bits per weight, from the bytes of two sizes."""
    small, large = OUTPUTS
    return (packed[str(large)] - packed[str(small)]) * 8 / ((large - small) * INPUTS)


def _count(emulated: Emulated, shape: str, kind: str, folder: Path) -> dict[str, int]:
    model = folder / kind
    make(shape, kind, model)
    rest = ["all"] if kind == FULL else []
    found = counted(*emulated.run(HERE / "measure.py", model, *rest, seconds=SECONDS))
    shutil.rmtree(model)
    return found


def _show(shape: str, kind: str, found: dict[str, int]) -> None:
    """Million instructions; the whole model's are sums of what was counted of its parts."""
    print(f"\n{shape}, {kind}: million instructions", flush=True)
    num_layers = SHAPES[shape]["num_hidden_layers"]
    for t, what in ((1, "a token, one process"), (128, "a prompt's token, in a chunk of 128")):
        layer = found[f"2 layers, {t}"] - found[f"1 layers, {t}"]
        end = found[f"1 layers and the end, {t}"] - found[f"1 layers, {t}"]
        step = found[f"1 layers, {t}"] - layer  # the engine's own
        end *= VOCAB_SHARE
        total = step + num_layers * layer + end
        _line(what, total / t)
        _line("  of it a layer", layer / t)
        _line("  of it lm_head and sampling", end / t)
    for name, count in found.items():
        if not name[0].isdigit():
            _line(name, count)
    if "middle, engine" in found:
        python = found["middle, from frames to frames"] - found["middle, layer"]
        _line("a middle stage's Python for a token", python)


def _show_exchange(emulated: Emulated) -> None:
    """Of one member of two, which run in one thread: half of what both execute."""
    print("\na member's exchange with another, rows x numbers: million instructions", flush=True)
    for name, count in counted(*emulated.run(HERE / "exchange.py", seconds=SECONDS)).items():
        _line(name, count / 2)


def _line(name: str, instructions: float) -> None:
    print(f"  {name:45} {instructions / 1e6:10.3f}", flush=True)


if __name__ == "__main__":
    main()

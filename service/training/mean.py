"""Write the mean of several checkpoints of one network, each with a share.

At a level rate the weights wander around what they have learnt: their mean is better than any of
them. A share of the weights before a training brings back some of what it has overwritten.
"""

import argparse
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

EXAMPLE = "example:\n  python mean.py --out fourth third-951:1 third-1001:1 ../bramble/embedded:0.5"


def mean(folders: list[tuple[Path, float]]) -> dict[str, torch.Tensor]:
    """Return float16 weights, the mean of the folders' by their shares."""
    total, sums = sum(share for _, share in folders), dict[str, torch.Tensor]()
    for folder, share in folders:
        for name, weight in load_file(folder / "model.safetensors").items():
            sums[name] = sums.get(name, 0) + weight.float() * (share / total)
    return {name: weight.to(torch.float16).contiguous() for name, weight in sums.items()}


def read(argument: str) -> tuple[Path, float]:
    """Read FOLDER or FOLDER:SHARE."""
    folder, _, share = argument.partition(":")
    return Path(folder), float(share or 1)


def main() -> None:
    """Write a folder like the first one, with the mean of all."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("folders", nargs="+", type=read, help="FOLDER or FOLDER:SHARE")
    options = parser.parse_args()
    shutil.copytree(options.folders[0][0], options.out, dirs_exist_ok=True)
    save_file(mean(options.folders), options.out / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()

"""What is measured: a real shape with random weights, cut so that an emulated load is short.

What is cut is known by differences: a layer costs what a stage of two takes more than one of one.
"""

from __future__ import annotations

from pathlib import Path

from bramble.export.api import Options, silent, write_folder
from bramble.export.synthetic import SHAPES, open_synthetic

LAYERS = 3  # a first stage of one, so that behind it one of two and, of three, one of one is last
VOCAB_SHARE = 8  # of the vocabulary's rows one in so many: they cost the same each


def make(shape: str, kind: str, folder: Path) -> None:
    """Export the shape's first layers and both of its ends into `folder`."""
    vocab_size = SHAPES[shape]["vocab_size"] // VOCAB_SHARE
    source = open_synthetic(shape, {"num_hidden_layers": LAYERS, "vocab_size": vocab_size})
    write_folder(source, folder, Options(kind, is_calibrated=False), silent)

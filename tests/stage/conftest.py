"""Exports of the golden checkpoints, and engines over them in this process."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
from bramble.export.api import Options, export

HERE = Path(__file__).parent


def _load(name: str, folder: Path = HERE) -> None:
    """Make a folder's `ring.py` importable under --import-mode=importlib."""
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


_load("ring")
_load("groups")
_load("variant", HERE.parent / "golden")
_load("variants", HERE.parent / "golden")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Return a function (case, quantisation) → model folder, exported once per test run."""
    made = {}

    def make(case: str, quantization: str = "float32") -> Path:
        key = f"{case}-{quantization}"
        if key not in made:
            folder = tmp_path_factory.mktemp("models") / key
            source = str(HERE.parent / "golden" / case)
            export(source, folder, Options(quantization=quantization))
            made[key] = folder
        return made[key]

    return make

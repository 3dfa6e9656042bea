"""What a fuzzer or a person once found goes on being refused, and never ends a process."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

KEPT = sorted(path for path in (Path(__file__).parent / "kept").glob("*/*"))


@pytest.fixture(autouse=True)
def _quiet() -> None:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_is_answered(path: Path) -> None:
    TARGETS[path.parent.name](path.read_bytes())

"""A few faults of a real ring, by a seed: what `make chaos` does by the hundred."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.chaos.__main__ import Settings, run, summary
from tests.chaos.checker import check
from tests.chaos.history import read

KINDS = ("kill-stage", "kill-head", "spoil-packed", "clients-leave")


@pytest.mark.skipif(sys.platform != "linux", reason="signals, /proc and prlimit are Linux's")
def test_nobody_loses_a_token_of_a_ring_whose_processes_die(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    settings = Settings(faults=4, seed=95, clients=4, questions=2, kinds=KINDS)
    run(settings, history, tmp_path / "run")
    lines = read(history.read_text(encoding="utf-8").splitlines())
    violations = check(lines)
    shown = [f"{each.rule}: {each.sentence}" for each in violations]
    assert not shown, summary(lines, violations) + "\n" + "\n".join(shown[:20])

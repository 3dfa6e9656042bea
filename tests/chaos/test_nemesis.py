"""Faults are planned from the seed alone, and told in a report that has them all."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import cast

import pytest
from bramble.errors import BadInput

from tests.chaos import faults, hosts, nemesis
from tests.chaos.__main__ import main
from tests.chaos.cases import cases
from tests.chaos.checker import RULES, check
from tests.chaos.cluster import Cluster
from tests.chaos.faults import Planned, Scene
from tests.chaos.history import read
from tests.chaos.nemesis import KINDS
from tests.chaos.report import report
from tests.chaos.test_checker import story, texts

STAGES = ["stage-0", "stage-1", "stage-2"]
NODES = [*STAGES, "head"]
ROUND = sum(kind.times for kind in KINDS.values())


def planned(seed: int, count: int = ROUND) -> list[Planned]:
    return nemesis.plan(seed, count, list(KINDS), STAGES, NODES)


def test_a_seed_gives_the_same_faults_again_and_another_seed_others() -> None:
    assert planned(1, 100) == planned(1, 100)
    assert planned(1, 100) != planned(2, 100)


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    assert planned(1, 100)[:40] == planned(1, 40)


def test_each_round_has_every_kind_as_often_as_it_says() -> None:
    counts = Counter(each.what for each in planned(3, 2 * ROUND))
    assert counts == {name: 2 * kind.times for name, kind in KINDS.items()}


def test_faults_hit_what_is_there_and_two_are_never_one() -> None:
    for each in planned(4, 5 * ROUND):
        assert set(each.targets) <= {*STAGES, "head", "web"}
        assert len(set(each.targets)) == len(each.targets)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.needs == "lan"])
def test_what_needs_a_network_of_its_own_says_so(name: str) -> None:
    assert "--lan" in nemesis.unavailable(name, has_lan=False)
    assert nemesis.unavailable(name, has_lan=True) == ""


def test_hosts_lose_cable_and_power_in_turn_by_the_seed_alone() -> None:
    planned_hosts = hosts.plan(1, 60)
    assert planned_hosts == hosts.plan(1, 60) != hosts.plan(2, 60)
    whats = [each.what for each in planned_hosts]
    assert whats == ["cut-cable", "pull-plug"] * 30
    assert {each.host for each in planned_hosts} == set(hosts.HOSTS)


class Sleepers:
    """Processes by name, and nothing else of a cluster."""

    def __init__(self, *names: str) -> None:
        self.children = {name: subprocess.Popen(["sleep", "60"]) for name in names}

    def processes(self) -> dict[str, int]:
        return {name: child.pid for name, child in self.children.items()}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_who_is_killed_has_ended_when_the_wait_for_its_successor_begins() -> None:
    for turn in range(20):
        sleepers = Sleepers("stage-0", "stage-1")
        scene = Scene(cast(Cluster, sleepers), lambda: None)
        faults.kill(scene, Planned(turn, "kill-two", ("stage-0", "stage-1"), 0.0, 0.0, 1))
        for child in sleepers.children.values():
            state = Path(f"/proc/{child.pid}/stat").read_text().split()[2]
            child.wait()
            assert state == "Z"


def test_an_unknown_kind_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BadInput, match="'kill-everything' is no kind of fault; there are kill"):
        nemesis.check(["kill-everything"])
    assert main(["--only", "kill-everything"]) == 2
    assert "'kill-everything' is no kind" in capsys.readouterr().err


def test_cases_have_names_of_their_own_and_a_third_has_no_seed() -> None:
    found = cases()
    assert len({case.name for case in found}) == len(found)
    assert sum(case.is_repeatable for case in found) == len(found) * 2 // 3


def test_a_report_tells_requests_faults_and_each_rule() -> None:
    memory = [
        {"at": 14 + 10 * i, "kind": "sampled", "process": "head", "pid": 7}
        | {"resident_mib": 90.5 + i, "descriptors": 40}
        for i in range(13)
    ]
    memory += [
        {"at": 14, "kind": "sampled", "process": "web", "pid": 8}
        | {"resident_mib": 60.0, "descriptors": 9},
        {"at": 14, "kind": "load", "load": 2.5},
    ]
    told = story()
    told[-1]["at"] = 200.0  # all at rest
    lines = read(texts([*told, *memory]))
    page = report(lines, check(lines), 'make chaos ARGS="--seed 7"')
    assert page.startswith("# 1 faults, None: no violation\n")
    for row in (
        "| seed | 7 |",
        "| asked | 6 |",
        "| ended, compared with an undisturbed run to the byte | 2 |",
        "| ended, without a seed: well-formed | 1 |",
        "| left by the client | 1 |",
        "| refused before acceptance: 503 | 1 |",
        "| refused before acceptance: no connection | 1 |",
        "| head | 1 | 120 s | 90.5 | 102.5 | +6.00 ± 0.00 | 40 | 40 | +0.00 ± 0.00 |",
        "| web | 1 | 0 s | 60.0 | 60.0 | – | 9 | 9 | – |",
        "| load meanwhile | 2.5 in the median, 2.5 at most |",
        "| kill stage | 1 | 1 | 2.5 | 2.5 | 2.5 | 3.0 | 3.0 | 3.0 | 0 |",
    ):
        assert row in page
    assert all(f"| {rule} |" in page for rule in RULES)


def test_a_report_shows_the_lines_of_a_violation() -> None:
    changed = story()
    changed[-1]["running"] = 1
    lines = read(texts(changed))
    page = report(lines, check(lines), "again")
    assert "**1 violations**" in page
    assert '{"at": 30.0, "kind": "rest", "running": 1, "queued": 0}' in page

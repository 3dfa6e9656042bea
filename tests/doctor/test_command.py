"""`bramble doctor` as a person and a play call it, on the machine that runs the tests."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from bramble.commands.doctor import table
from bramble.doctor.finding import error, ok
from bramble.doctor.report import Report
from rich.console import Console

from tests.ports import free_ports

TOKEN = "b7e23ec29af22b0b4e41da31e868d572\n"


def doctor(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bramble", "doctor", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=90)


def test_every_check_says_something_of_whatever_machine_this_is(tmp_path: Path) -> None:
    done = doctor("--json", "--node", "here", "--models", str(tmp_path))
    document = json.loads(done.stdout)
    checks = {finding["check"] for finding in document["findings"]}
    assert checks >= {
        *("power", "temperature", "governor", "link", "card", "root filesystem", "wear"),
        *("disk", "clock", "memory", "swap", "units", "versions", "shards"),
    }
    levels = {finding["level"] for finding in document["findings"]}
    assert document["node"] == "here" and done.returncode == int("error" in levels)


def test_a_finding_is_shown_as_it_is_though_it_looks_like_markup() -> None:
    console = Console(width=160, file=io.StringIO(), record=True)
    console.print(table(Report("pi1", {}, (ok("a", "fine"), error("b", "[red] x[/]", "do")))))
    text = console.export_text()
    assert "[red] x[/]" in text and text.index("error") < text.index("fine")


def test_a_bundle_is_written_beside_the_findings(tmp_path: Path) -> None:
    path = tmp_path / "support.tar.gz"
    done = doctor("--quick", "--json", "--bundle", str(path), "--node", "here")
    assert json.loads(done.stdout)["node"] == "here" and "look through it" in done.stderr
    with tarfile.open(path) as archive:
        assert "bramble-here/findings.json" in archive.getnames()


def test_two_processes_measure_the_bandwidth_between_them() -> None:
    port = str(*free_ports(1))
    serve = ["--serve-probe", "20", "--port", port, "--listen", "127.0.0.1"]
    command = [sys.executable, "-m", "bramble", "doctor", *serve]
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as server:
        assert server.stdin
        server.stdin.write(TOKEN)
        server.stdin.close()
        done = doctor("--probe", "pi2=127.0.0.1", "--port", port, "--json", given=TOKEN)
        assert server.wait(timeout=20) == 0
    [finding] = json.loads(done.stdout)["findings"]
    assert finding["check"] == "bandwidth" and "Mbit/s to pi2" in finding["sentence"]


def test_the_summary_of_reports_from_standard_input_ends_with_1_where_one_is_missing() -> None:
    reports = [{"node": "pi1", "findings": []}, {"node": "pi2", "missing": "unreachable"}]
    done = doctor("--summary", given=json.dumps(reports))
    assert done.returncode == 1 and "pi1: no problem" in done.stdout
    assert "pi2: unreachable" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--neighbours", "pi2"], "got 'pi2', need NAME=ADDRESS"),
        (["--neighbours", "pi2=pi2.local"], "IPv4"),
        (["--probe", "pi2=10.0.0.1,pi3=10.0.0.2"], "got 2 nodes"),
        (["--probe", "pi2=10.0.0.1", "--port", "70000"], "1 to 65535"),
        (["--serve-probe", "0"], "1 to 600 seconds"),
        (["--serve-probe", "5"], "it needs 16 or more"),
        (["--summary"], "no JSON"),
        (["--quick", "--bundle", "/nowhere/x.tar.gz"], "cannot be written"),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_2(arguments: list[str], words: str) -> None:
    done = doctor(*arguments)
    assert done.returncode == 2 and words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1

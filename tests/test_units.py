"""The units as they ship: systemd reads them without complaint, and they expose little."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parent.parent / "systemd"
MAX_EXPOSURE = 2.0
SERVICES = ("bramble-stage@0.service", "bramble-head.service", "bramble-web.service")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units as a node has them: one instance of the template, programs that can be run."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/bramble/current/bin/bramble", "/bin/true")
        (tmp_path / unit.name.replace("@.", "@0.")).write_text(text)
    return tmp_path


def analyze(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("name", [*SERVICES, "bramble-web.socket", "bramble.target"])
def test_systemd_finds_no_fault(folder: Path, name: str) -> None:
    assert analyze("verify", "--man=no", "--recursive-errors=no", folder / name).strip() == ""


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_exposes_little(folder: Path, name: str) -> None:
    report = analyze("security", "--offline=true", "--no-pager", folder / name)
    found = re.search(r"exposure level for .*: ([\d.]+)", report)
    assert found and float(found[1]) <= MAX_EXPOSURE


@pytest.mark.parametrize("name", SERVICES)
def test_the_loop_is_watched_and_comes_back(name: str) -> None:
    text = (UNITS / name.replace("@0", "@")).read_text()
    for line in ("Type=notify", "Restart=always", "User=bramble"):
        assert f"\n{line}\n" in text
    assert re.search(r"\nWatchdogSec=\d+\n", text)
    assert re.search(r"\nMemoryMax=\d+[%G]\n", text)


@pytest.mark.parametrize("name", SERVICES)
def test_why_a_service_ended_is_kept_and_an_end_that_was_asked_for_forgets_it(
    name: str, tmp_path: Path
) -> None:
    text = (UNITS / name.replace("@0", "@")).read_text().replace("%i", "0")
    (folder,) = re.findall(r"^ExecStart=.* --restarts %t/(\S+)$", text, re.MULTILINE)
    (command,) = re.findall(r"^ExecStopPost=-/bin/sh -c '(.*)'$", text, re.MULTILINE)
    assert re.search(rf"^RuntimeDirectory=.*\b{folder}$", text, re.MULTILINE)
    assert "\nRuntimeDirectoryPreserve=restart\n" in text
    command = command.replace("%t", str(tmp_path)).replace("$$", "$")
    place = tmp_path / folder
    place.mkdir()
    (place / "restarts.json").write_text("{}")

    def end(result: str, code: str, status: str) -> None:
        words = {"SERVICE_RESULT": result, "EXIT_CODE": code, "EXIT_STATUS": status}
        subprocess.run(["/bin/sh", "-c", command], env=words, check=True)

    (place / "ended").write_text("error disk full\n")
    end("oom-kill", "killed", "KILL")
    assert (place / "ended").read_text() == "error disk full\noom-kill killed KILL\n"
    end("success", "exited", "0")
    assert not list(place.iterdir())

"""A real avahi-daemon with the role's files, heard by the real `bramble discover`."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.discover.conftest import ansible
from tests.discover.lan import NODE_ADDRESS, ROOT, Lan

HERE = Path(__file__).parent
BOARD = "Raspberry Pi 5 Model B Rev 1.0"
UNSHARE = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for program in ("avahi-daemon", "dbus-daemon"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: apt-get install avahi-daemon dbus")
    (tmp_path / "services").mkdir()
    tmp_path.chmod(0o755)  # avahi-daemon reads it as the user avahi
    return tmp_path


def write(lan: Lan, folder: Path, **variables: object) -> None:
    """Have Ansible write the role's two files into `folder`, on the node."""
    words = (ansible("ansible-playbook"), "-i", "pi1,", HERE / "announce.yml")
    given = {
        "ansible_python_interpreter": sys.executable,
        "folder": str(folder),
        "bramble_announce_address": NODE_ADDRESS,
        **variables,
    }
    done = subprocess.run(
        lan.on_node(*words, "-e", json.dumps(given)),
        env={**os.environ, "ANSIBLE_ROLES_PATH": str(ROOT / "roles")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def avahi(lan: Lan, folder: Path) -> Iterator[None]:
    process = subprocess.Popen(
        lan.on_node(*UNSHARE, "sh", HERE / "avahi.sh", "pi1", folder),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        lines = iter(process.stderr.readline, "")
        assert any("startup complete" in line for line in lines), "avahi-daemon ended"
        yield
    finally:
        process.send_signal(signal.SIGKILL)  # unshare; --kill-child takes the rest along
        process.communicate()


def heard(lan: Lan) -> dict:
    done = lan.bramble("discover", "--json", "--seconds", "2")
    assert done.returncode == 0, done.stderr
    (node,) = json.loads(done.stdout)["nodes"]
    return node


def test_a_head_on_a_pi_is_heard_with_all_it_announces(lan: Lan, folder: Path) -> None:
    board = {"content": base64.b64encode(BOARD.encode() + b"\0").decode()}
    write(
        *(lan, folder),
        bramble_announce_role="head",
        bramble_announce_version="0.3.0",
        __bramble_announce_model=board,
    )
    with avahi(lan, folder):
        assert heard(lan) == {
            "name": "pi1",
            "role": "head",
            "address": NODE_ADDRESS,
            "port": 8080,
            "version": "0.3.0",
            "model": BOARD,
        }


def test_a_blank_node_becomes_a_stage_without_a_restart(lan: Lan, folder: Path) -> None:
    write(lan, folder, bramble_announce_role="blank")
    with avahi(lan, folder):
        blank = {"name": "pi1", "role": "blank", "address": NODE_ADDRESS, "port": 22}
        assert heard(lan) == {**blank, "version": "", "model": ""}
        write(lan, folder, bramble_announce_role="stage", bramble_announce_version="0.3.0")
        assert heard(lan) == {**blank, "role": "stage", "version": "0.3.0", "model": ""}


def test_avahi_keeps_to_the_interface_of_the_address(lan: Lan, folder: Path) -> None:
    write(lan, folder)
    assert "allow-interfaces=eth0\n" in (folder / "avahi-daemon.conf").read_text()
    write(lan, folder, bramble_announce_interface="lo")
    with avahi(lan, folder):
        assert lan.bramble("discover", "--seconds", "2").returncode == 1


def test_an_address_that_no_interface_has_is_named(lan: Lan, folder: Path) -> None:
    with pytest.raises(AssertionError, match=r"no interface with\s+the address 10\.78\.0\.99"):
        write(lan, folder, bramble_announce_address="10.78.0.99")

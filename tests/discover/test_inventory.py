"""The inventory plugin, by the real ansible-inventory over real multicast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.discover.conftest import Announce, ansible, node
from tests.discover.lan import ROOT, Lan

DISCOVERED = ROOT / "inventory" / "discovered"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The bramble command of the tests' Python."""
    path = tmp_path / "bramble"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m bramble "$@"\n')
    path.chmod(0o755)
    return path


def listed(lan: Lan, program: Path, inventory: Path = DISCOVERED) -> subprocess.CompletedProcess:
    return lan.on_laptop(
        *(ansible("ansible-inventory"), "-i", inventory, "--list", "--export"),
        environment={
            "ANSIBLE_INVENTORY_PLUGINS": str(ROOT / "ansible" / "plugins" / "inventory"),
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
            "BRAMBLE_PROGRAM": str(program),
        },
    )


def plain(value: object) -> object:
    """Take off the mark that ansible-inventory puts on text it would never run as a template."""
    if isinstance(value, dict) and set(value) == {"__ansible_unsafe"}:
        return value["__ansible_unsafe"]
    return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def test_what_is_on_the_lan_are_hosts_with_addresses(
    lan: Lan, announce: Announce, program: Path
) -> None:
    announce(node("pi1", "head", version="0.3.0"), node("pi9", "blank", "10.78.0.19"))
    done = listed(lan, program)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["bramble"]["hosts"] == ["pi1", "pi9"]
    assert document["bramble_blank"]["hosts"] == ["pi9"]
    variables = plain(document["_meta"]["hostvars"])
    assert variables["pi1"]["role"] == "head" and "role" not in variables["pi9"]
    assert variables["pi9"]["address"] == variables["pi9"]["ansible_host"] == "10.78.0.19"
    told = {"role": "head", "port": 8080, "version": "0.3.0", "model": ""}
    assert variables["pi1"]["bramble_discovered"] == told


def test_a_hostile_name_never_reaches_ansible(
    lan: Lan, announce: Announce, program: Path, tmp_path: Path
) -> None:
    mark = tmp_path / "executed"
    announce(node(f"{{{{ lookup('pipe', 'touch {mark}') }}}}"), node("pi2"))
    done = listed(lan, program)
    assert json.loads(done.stdout)["bramble"]["hosts"] == ["pi2"]
    assert "which is no hostname" in done.stderr and not mark.exists()


def test_two_nodes_of_one_name_stop_the_play(lan: Lan, announce: Announce, program: Path) -> None:
    announce(node("pi1"), node("pi1", address="10.78.0.12"))
    done = listed(lan, program)
    assert done.returncode != 0
    assert "2 nodes call themselves pi1 (10.78.0.11, 10.78.0.12)" in " ".join(done.stderr.split())


def test_silence_is_an_empty_group_and_a_warning(lan: Lan, program: Path) -> None:
    done = listed(lan, program)
    assert done.returncode == 0, done.stderr
    assert "hosts" not in json.loads(done.stdout).get("bramble", {})
    assert "nothing announced itself as _bramble._tcp" in done.stderr


def test_a_missing_program_is_named_with_what_to_do(lan: Lan, tmp_path: Path) -> None:
    done = listed(lan, tmp_path / "nowhere")
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "nowhere is not a command that can be run" in said and "`make run`" in said


def test_bad_seconds_are_named(lan: Lan, program: Path, tmp_path: Path) -> None:
    (tmp_path / "bramble.yml").write_text("plugin: bramble\nseconds: 900\n")
    done = listed(lan, program, tmp_path / "bramble.yml")
    assert done.returncode != 0
    assert "--seconds: got 900, need more than 0 and up to 300" in done.stderr

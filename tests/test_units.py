"""The units as they ship: systemd reads them without complaint, and they expose little."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from bramble.config import HeadConfig, StageConfig, WebConfig
from jinja2 import Environment, StrictUndefined

UNITS = Path(__file__).parent.parent / "systemd"
ROLES = Path(__file__).parent.parent / "roles"
MAX_EXPOSURE = 2.0
MAX_OF_ADDRESS = 2.2  # it sets addresses
SERVICES = ("bramble-stage@0.service", "bramble-head.service", "bramble-web.service")
ADDRESS = "bramble-address.service"  # keepalived: not a program of ours


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The units as a node has them: one instance of the template, programs that can be run."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/opt/bramble/current/bin/bramble", "/bin/true")
        text = text.replace("/usr/sbin/keepalived", "/bin/true")
        (tmp_path / unit.name.replace("@.", "@0.")).write_text(text)
    return tmp_path


def analyze(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["systemd-analyze", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize("name", [*SERVICES, ADDRESS, "bramble-web.socket", "bramble.target"])
def test_systemd_finds_no_fault(folder: Path, name: str) -> None:
    assert analyze("verify", "--man=no", "--recursive-errors=no", folder / name).strip() == ""


@pytest.mark.parametrize("name", [*SERVICES, ADDRESS])
def test_a_service_exposes_little(folder: Path, name: str) -> None:
    report = analyze("security", "--offline=true", "--no-pager", folder / name)
    found = re.search(r"exposure level for .*: ([\d.]+)", report)
    assert found and float(found[1]) <= (MAX_OF_ADDRESS if name == ADDRESS else MAX_EXPOSURE)


@pytest.mark.parametrize("name", SERVICES)
def test_the_loop_is_watched_and_comes_back(name: str) -> None:
    text = (UNITS / name.replace("@0", "@")).read_text()
    for line in ("Type=notify", "Restart=always", "User=bramble"):
        assert f"\n{line}\n" in text
    assert re.search(r"\nWatchdogSec=\d+\n", text)
    assert re.search(r"\nMemoryMax=\d+[%G]\n", text)


def test_a_stage_may_ask_which_pages_are_in_memory() -> None:
    """A filter that denies it would have each pass of the scrub read whole files."""
    text = (UNITS / "bramble-stage@.service").read_text()
    allowed = re.findall(r"^SystemCallFilter=([^~\n]*)$", text, re.MULTILINE)
    assert "mincore" in " ".join(allowed).split()


@pytest.mark.parametrize(
    ("name", "kind"), [*zip(SERVICES, (StageConfig, HeadConfig, WebConfig), strict=True)]
)
def test_a_unit_gives_no_flag_that_belongs_into_its_file_of_settings(
    name: str, kind: type[Any]
) -> None:
    (line,) = re.findall(
        r"^ExecStart=(.*)$", (UNITS / name.replace("@0", "@")).read_text(), re.MULTILINE
    )
    flags = {flag.replace("-", "_") for flag in re.findall(r" --([\w-]+)", line)}
    assert "config" in flags
    assert not flags & {each.name for each in fields(kind)}


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


def test_keepalived_looks_for_other_instances_where_it_may_write() -> None:
    """Trixie's takes a pid file in /run that it cannot open for another instance, and ends."""
    (line,) = re.findall(r"^ExecStart=(.*)$", (UNITS / ADDRESS).read_text(), re.MULTILINE)
    places = re.findall(r" --(?:\w+_)?pid=(\S+)", line)
    assert len(places) == 4
    assert all(place.startswith("%t/bramble-address/") for place in places)


def test_a_node_that_goes_down_keeps_the_address_until_its_connections_are_closed() -> None:
    """Units stop in the order opposite to that in which they start."""
    assert "Before=bramble-web.service\n" in (UNITS / ADDRESS).read_text()


# --- who gets there -------------------------------------------------------------------------------

LAN, VPN, ALL = "192.168.1.0/24", "100.64.0.0/10", "0.0.0.0/0"
NETWORKS = [[LAN], [LAN, VPN], [LAN, "192.168.0.0/16"], [LAN, ALL], [LAN, LAN], [VPN]]


def rendered(role: str, template: str, **values: Any) -> str:
    path = ROLES / role / "templates" / template
    environment = Environment(undefined=StrictUndefined, trim_blocks=True)
    environment.filters["bool"] = bool
    return environment.from_string(path.read_text()).render(values)


def firewall(networks: list[str]) -> str:
    values = {"networks": networks, "nodes": ["192.168.1.11"], "is_head": True, "port": 8080}
    values |= {"ring_ports": [7099, 7100], "rules": [], "heads": ["192.168.1.12"], "members": []}
    named = {f"bramble_firewall_{name}": value for name, value in values.items()}
    return rendered("bramble_firewall", "firewall.nft.j2", **named)


def test_one_list_of_networks_decides_firewall_and_units() -> None:
    site = yaml.safe_load((ROLES.parent / "ansible/vars/site.yml").read_text())
    assert site["bramble_firewall_networks"] == "{{ [bramble_network] + bramble_admin_networks }}"
    assert site["bramble_web_networks"] == "{{ bramble_firewall_networks }}"


@pytest.mark.parametrize("networks", NETWORKS, ids=" ".join)
def test_whom_the_firewall_lets_in_the_web_does(networks: list[str]) -> None:
    part = {"section": "Service", "name": "bramble-web.service"}
    values = {"bramble_web_networks": networks, "__bramble_web_unit_part": part}
    unit = rendered("bramble_web", "networks.conf.j2", **values)
    (allowed,) = re.findall(r"(?m)^IPAddressAllow=(.+)$", unit)
    assert allowed.split() == ["localhost", "link-local", *networks]
    (let_in,) = re.findall(r"elements = \{ (.*\d/\d+) \}", firewall(networks))
    assert set(let_in.split(", ")) == set(networks)


@pytest.mark.parametrize("networks", NETWORKS, ids=" ".join)
def test_the_firewall_can_be_loaded_though_networks_overlap(
    networks: list[str], tmp_path: Path
) -> None:
    text = firewall(networks)
    assert "auto-merge" in text  # without it nft refuses a network that lies in another
    lacks = [name for name in ("nft", "unshare") if not shutil.which(name)]
    if lacks or os.geteuid() != 0:
        pytest.skip(f"checking the rules needs root, and apt-get install nftables: {lacks}")
    (tmp_path / "rules.nft").write_text(text)
    command = ["unshare", "--net", "nft", "--check", "--file", tmp_path / "rules.nft"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

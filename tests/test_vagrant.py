"""The Vagrantfile is valid, and agrees with inventory/vagrant on names and addresses."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
VAGRANTFILE = ROOT / "Vagrantfile"
INVENTORY = ROOT / "inventory" / "vagrant"
# As Vagrant writes it (its plugins/provisioners/ansible), for VirtualBox
GENERATED = (
    "pi1 ansible_host=127.0.0.1 ansible_port=2222 ansible_user='vagrant' "
    "ansible_ssh_private_key_file='/home/me/key'\n"
)


def validate(folder: Path, scratch: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("vagrant") is None:
        pytest.skip("vagrant is missing: apt-get install vagrant vagrant-libvirt")
    return subprocess.run(
        ["vagrant", "validate"],
        cwd=folder,
        env={
            **os.environ,
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",  # its block is then checked too
            "VAGRANT_HOME": str(scratch / "home"),
            "VAGRANT_DOTFILE_PATH": str(scratch / "state"),
            "VAGRANT_CHECKPOINT_DISABLE": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def variables() -> dict:
    return yaml.safe_load((INVENTORY / "group_vars" / "bramble.yml").read_text())


def test_vagrant_finds_no_fault(tmp_path: Path) -> None:
    done = validate(ROOT, tmp_path)
    assert done.returncode == 0, done.stdout


def test_vagrant_would_find_a_misspelt_setting(tmp_path: Path) -> None:
    text = VAGRANTFILE.read_text().replace("libvirt.cpus =", "libvirt.cpuz =")
    (tmp_path / "Vagrantfile").write_text(text)
    done = validate(tmp_path, tmp_path)
    assert done.returncode != 0 and "cpuz" in done.stdout


def test_vagrantfile_and_inventory_name_the_same_nodes_in_the_same_order() -> None:
    block = re.search(r"^NODES = \{.*?^\}", VAGRANTFILE.read_text(), re.DOTALL | re.MULTILINE)
    assert block
    machines = re.findall(r'"([\w-]+)" => "([\d.]+)"', block[0])
    hosts = yaml.safe_load((INVENTORY / "hosts.yml").read_text())["bramble"]["hosts"]
    assert machines == [(name, host["address"]) for name, host in hosts.items()]
    assert [name for name, host in hosts.items() if host.get("role") == "head"] == ["pi1"]
    network = ip_network(variables()["bramble_network"])
    assert all(ip_address(address) in network for _, address in machines)


def test_nothing_is_downloaded_for_the_model() -> None:
    assert variables()["bramble_model"] == "embedded"


def test_vagrant_has_the_last_word_on_how_a_node_is_reached(tmp_path: Path) -> None:
    beside = Path(sys.executable).parent / "ansible-inventory"
    program = shutil.which(beside) or shutil.which("ansible-inventory")
    if program is None:
        pytest.skip("ansible-inventory is missing: pip install ansible-core")
    (tmp_path / "vagrant_ansible_inventory").write_text(GENERATED)
    words = ["-i", str(tmp_path), f"--inventory={INVENTORY}", "--host", "pi1"]
    listed = subprocess.run([program, *words], capture_output=True, text=True, check=True)
    told = json.loads(listed.stdout)
    assert (told["ansible_host"], told["ansible_port"]) == ("127.0.0.1", 2222)
    assert (told["address"], told["role"]) == ("192.168.56.11", "head")
    assert told["bramble_network"] == "192.168.56.0/24"

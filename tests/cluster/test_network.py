"""Hosts by netplan, NetworkManager and both: pinned, rebooted, and there again from nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests.cluster.lab import Host, Lab
from tests.cluster.plays import ROOT, Played, ansible_playbook, changes, environment, write_site

PACKAGES = ("netplan.io", "network-manager", "cloud-init")
HOSTS = {
    f"pi{n}": {"address": f"10.77.0.{10 + n}", "bramble_gateway": "10.77.0.1"} for n in (1, 2, 3)
}
OPTIONS = "-i {key} -o UserKnownHostsFile={known} -o IdentitiesOnly=yes -o BatchMode=yes"
DNS = ["10.77.0.1", "1.1.1.1"]
PIN = """
- hosts: bramble
  become: true
  tasks:
    - ansible.builtin.import_role: {name: bramble_base, tasks_from: name}
      vars:
        bramble_base_hostname: "{{ inventory_hostname }}"
        bramble_base_addresses: {pi1: 10.77.0.11, pi2: 10.77.0.12, pi3: 10.77.0.13}
    - ansible.builtin.import_role: {name: bramble_base, tasks_from: cloud}
    - ansible.builtin.import_role: {name: bramble_network}
      vars:
        bramble_network_address: "{{ address }}"
        bramble_network_cidr: "{{ bramble_network }}"
        bramble_network_gateway: "{{ bramble_gateway }}"
        bramble_network_dns: "{{ bramble_dns }}"
"""


def as_flashed(host: Host) -> None:
    """netplan by networkd, from cloud-init, whose file names every interface."""
    lan = {"match": {"name": "e*"}, "addresses": [f"{host.address}/24"]}
    lan |= {"routes": [{"to": "default", "via": "10.77.0.1"}]}
    _seed(host, {"version": 2, "ethernets": {"lan": lan}}, "localhost")
    host.write("etc/systemd/network/10-eth0.network", "")
    host.write("etc/systemd/system/NetworkManager.service", "")


def by_network_manager(host: Host) -> None:
    """As Raspberry Pi OS Bookworm."""
    host.write("etc/cloud/cloud-init.disabled", "")
    host.write("etc/systemd/network/10-eth0.network", "")
    host.write("etc/systemd/system/systemd-networkd.service", "")
    profile = (
        "[connection]\nid=lan\ntype=ethernet\nautoconnect-priority=200\n[ipv4]\nmethod=manual\n"
    )
    profile += f"address1={host.address}/24\naddress2=10.77.0.{host.number + 110}/24\n"
    host.write("etc/NetworkManager/system-connections/lan.nmconnection", profile, 0o600)


def by_both(host: Host) -> None:
    """As Raspberry Pi OS Trixie: netplan by NetworkManager, and a profile of cloud-init's."""
    everything = {"network": {"version": 2, "renderer": "NetworkManager"}}
    host.write("usr/lib/netplan/00-network-manager-all.yaml", yaml.safe_dump(everything), 0o600)
    second = f"10.77.0.{host.number + 110}/24"
    eth0 = {"addresses": [f"{host.address}/24", second], "dhcp4": False}
    _seed(host, {"version": 2, "ethernets": {"eth0": eth0}}, True)
    host.write("etc/systemd/network/10-eth0.network", "")
    host.write("etc/systemd/system/systemd-networkd.service", "")


def _seed(host: Host, network: object, manage_etc_hosts: object) -> None:
    """Give cloud-init what a card's first partition has."""
    seed = "var/lib/cloud/seed/nocloud"
    user = {"hostname": "fresh", "manage_etc_hosts": manage_etc_hosts, "preserve_hostname": False}
    user |= {"ssh_deletekeys": False}
    host.write(f"{seed}/user-data", f"#cloud-config\n{yaml.safe_dump(user)}")
    host.write(f"{seed}/meta-data", f"instance-id: {host.name}\nlocal-hostname: fresh\n")
    host.write(f"{seed}/network-config", yaml.safe_dump(network))
    host.write("etc/cloud/cloud.cfg.d/90_dpkg.cfg", "datasource_list: [NoCloud]\n")
    # A container has no udev; the program fails at /sys, half-way through netplan apply
    host.write("usr/local/bin/udevadm", "#!/bin/sh\n", 0o755)


def over_wifi(host: Host) -> None:
    host.write("etc/cloud/cloud-init.disabled", "")
    host.write("etc/systemd/network/10-eth0.network", "")
    host.write("etc/systemd/system/NetworkManager.service", "")
    text = f"[Match]\nName=wlan0\n[Network]\nAddress={host.address}/24\n"
    host.write("etc/systemd/network/10-wlan0.network", text)


KINDS = (as_flashed, by_network_manager, by_both, over_wifi)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    missing = [name for name in ("systemd-nspawn", "mmdebstrap") if not shutil.which(name)]
    if missing or os.geteuid() != 0:
        pytest.skip(f"booting hosts needs root, and apt-get install systemd-container {missing}")
    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        lab.open()
        lab.add_packages("network", *PACKAGES)
        lab.host(4).interface = "wlan0"
        hosts = [lab.host(number) for number in range(1, 5)]
        for host, kind in zip(hosts, KINDS, strict=True):
            host.start(prepare=kind)
        for host in hosts:
            host.wait_for_ssh()
        yield lab
    finally:
        lab.close()


Play = Callable[..., Played]


@pytest.fixture
def play(lab: Lab) -> Iterator[Play]:
    """Give a function that runs a play; `values` are of the inventory."""
    with tempfile.TemporaryDirectory(dir=lab.folder, ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        shutil.copy(lab.known_hosts, home / "known_hosts")
        (home / "pin.yml").write_text(PIN)

        def run(name: str, *words: str, hosts: object = HOSTS, **values: object) -> Played:
            options = OPTIONS.format(key=lab.key, known=home / "known_hosts")
            values |= {"ansible_ssh_common_args": options}
            site = write_site(home / "site", json.dumps({"bramble": {"hosts": hosts}}), **values)
            path = home / "pin.yml" if name == "pin" else f"{name}.yml"
            done = lab.run(
                *(ansible_playbook(), path, "-i", site, *words),
                cwd=ROOT / "ansible",
                env=dict(environment(home)),
            )
            return Played(done.returncode, done.stdout + done.stderr)

        yield run


def addresses(host: Host) -> list[str]:
    links = json.loads(host.ssh(f"ip -json -4 address show {host.interface}"))
    return [f"{each['local']}/{each['prefixlen']}" for each in links[0]["addr_info"]]


def reboot(host: Host) -> None:
    boot = "cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestampMonotonic"
    before = host.ssh(boot)
    host.ssh("sudo systemd-run --quiet --on-active=1 systemctl reboot")
    while host.ssh(boot, check=False) in ("", before):
        pass
    host.wait_for_ssh()


def test_each_node_is_there_at_its_pinned_address_alone_after_a_reboot(
    lab: Lab, play: Play
) -> None:
    nodes = [lab.host(number) for number in (1, 2, 3)]
    assert addresses(nodes[2]) == ["10.77.0.13/24", "10.77.0.113/24"]
    played = play("pin", bramble_dns=DNS)
    assert played.returncode == 0, played.output
    assert [node.ssh("hostname") for node in nodes] == ["pi1\n", "pi2\n", "pi3\n"]
    with ThreadPoolExecutor() as pool:
        list(pool.map(reboot, nodes))
    assert [addresses(node) for node in nodes] == [[f"{node.address}/24"] for node in nodes]
    assert all("via 10.77.0.1 " in node.ssh("ip route show default") for node in nodes)
    assert nodes[0].ssh("cat /run/systemd/netif/links/*").count("DNS=10.77.0.1 1.1.1.1") == 1
    for node in nodes[1:]:
        assert node.ssh("nmcli -g IP4.DNS device show eth0") == "10.77.0.1 | 1.1.1.1\n"
    again = play("pin", bramble_dns=DNS)  # nor has cloud-init set /etc/hosts back
    assert changes(again.output) == {"pi1": 0, "pi2": 0, "pi3": 0}, again.output


def test_wifi_is_refused_before_anything_changes(lab: Lab, play: Play) -> None:
    hosts = {"pi4": {"address": "10.77.0.14"}}
    played = play("site", "-e", '{"bramble_preflight_packages": ["python3"]}', hosts=hosts)
    assert played.sentences == [
        "pi4 has its address in 10.77.0.0/24 on wlan0, which is Wi-Fi, and the ring needs "
        "Ethernet: plug a cable in, or pin the address yourself and set "
        "`bramble_manage_network: false`"
    ]
    assert set(played.changed.values()) == {0}
    assert "PLAY [Prepare the nodes]" not in played.output
    assert lab.host(4).ssh("hostname") == "fresh\n"

"""An image made by flash.yml boots, answers at its address, and lets one key in and nobody else."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flash.conftest import NOBODY, Site
from tests.flash.machine import Machine, booted
from tests.flash.stand_in import missing_tools, packed_image

pytestmark = pytest.mark.timeout(1200)  # the first run makes the stand-in for the image


@pytest.fixture
def image() -> Path:
    if os.getuid():
        pytest.skip("root is missing: a network namespace and a tap device are made")
    if missing := missing_tools():
        pytest.skip(
            f"missing: {', '.join(missing)} (mmdebstrap fdisk dosfstools mtools xz-utils "
            "e2fsprogs qemu-system-x86)"
        )
    return packed_image()


@pytest.fixture
def machine(site: Site, image: Path) -> Iterator[Machine]:
    # A copy: the cache may lie in root's home, which the play's user cannot read.
    shutil.copyfile(image, site.image)
    os.chown(site.image, NOBODY, NOBODY)
    made = site.flash("-e", "bramble_flash_node=pi1")
    assert made.returncode == 0, made.stdout + made.stderr
    card = site.output / "pi1.img"
    assert card.stat().st_uid == NOBODY
    os.chown(site.key, os.getuid(), os.getgid())  # ssh reads only a key of its own user
    with booted(card, "10.77.9.11", "10.77.9.1", site.folder) as machine:
        yield machine


def test_a_flashed_image_boots_at_its_address_and_lets_our_key_in_alone(
    machine: Machine, site: Site
) -> None:
    def ask(command: str) -> str:
        done = machine.ssh("owner", site.key, command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    assert ask("cloud-init status --wait").endswith("status: done")
    assert ask("hostname") == "pi1"
    assert "10.77.9.11/24" in ask("ip -brief address show eth0")
    assert "default via 10.77.9.1 " in ask("ip route")
    assert ask("sudo --non-interactive id --user --name") == "root"
    assert ask("sudo passwd --status owner").split()[1] == "L"
    assert ask("timedatectl show --property Timezone --value") == "Europe/Berlin"
    assert ask("cat /proc/swaps").count("\n") == 0
    assert ask("systemctl is-active avahi-daemon bramble-eee-off") == "active\nactive"
    assert "role=blank" in ask("avahi-browse --terminate --resolve --parsable _bramble._tcp")
    assert ask("systemctl --failed --no-legend --plain") == ""

    _nobody_else_gets_in(machine, site)


def _nobody_else_gets_in(machine: Machine, site: Site) -> None:
    other = site.folder / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    for user, key in (("owner", other), ("root", site.key), ("ubuntu", site.key)):
        refused = machine.ssh(user, key, "true")
        assert refused.returncode == 255
        assert "Permission denied (publickey)" in refused.stderr, refused.stderr
    password = ("-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password")
    refused = machine.ssh("owner", site.key, "true", options=password)
    # sshd names the ways in that it has, and a password is not among them.
    assert "Permission denied (publickey)" in refused.stderr, refused.stderr

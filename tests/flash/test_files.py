"""The cloud-init files that flash.yml writes pass cloud-init's and netplan's own checks."""

from __future__ import annotations

import json
import os
import re
import shutil

import pytest
import yaml

from tests.flash.checkers import netplan, python, schema
from tests.flash.conftest import REPOSITORY, Site, give_small_image, made_site

pytestmark = pytest.mark.timeout(600)  # the first run installs both into a folder


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    if os.getuid():
        pytest.skip("root is missing: mmdebstrap and chroot")
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is missing: apt-get install mmdebstrap")


@pytest.fixture(scope="module")
def files() -> dict[str, str]:
    """What one run of the play wrote; no test changes it."""
    with made_site() as site:
        give_small_image(site)
        return made_files(site)


def made_files(site: Site, *arguments: str) -> dict[str, str]:
    done = site.flash("-e", "bramble_flash_node=pi1", *arguments)
    assert done.returncode == 0, done.stdout
    folder = site.output / "pi1"
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_user_data_passes_cloud_inits_schema(files: dict[str, str]) -> None:
    done = schema("cloud-config", files["user-data"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_network_config_passes_cloud_inits_schema(files: dict[str, str]) -> None:
    done = schema("network-config", files["network-config"])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_checks_do_refuse(files: dict[str, str]) -> None:
    bad = files["user-data"].replace("ssh_pwauth: false", "ssh_pwauth: [1]")
    assert schema("cloud-config", bad).returncode != 0
    bad = files["network-config"].replace("dhcp4: false", "dhcp4: [1]")
    assert schema("network-config", bad).returncode != 0


@pytest.mark.parametrize("renderer", ["networkd", "NetworkManager"])
def test_netplan_makes_the_address_of_it(renderer: str, files: dict[str, str]) -> None:
    done, made = netplan(f"{files['network-config']}\nrenderer: {renderer}")
    assert done.returncode == 0, done.stderr
    for value in ("10.77.9.11/24", "10.77.9.1", "e*"):
        assert value in made


def test_netplan_does_refuse(files: dict[str, str]) -> None:
    done, _ = netplan(files["network-config"].replace("via: 10.77.9.1", "via: 10.77.9.300"))
    assert done.returncode != 0


def test_a_network_without_gateway_and_names_passes_too(small_site: Site) -> None:
    none = ("-e", "bramble_flash_gateway=", "-e", '{"bramble_flash_dns": []}')
    files = made_files(small_site, *none)
    assert "routes" not in files["network-config"]
    assert "nameservers" not in files["network-config"]
    assert schema("network-config", files["network-config"]).returncode == 0
    assert netplan(files["network-config"])[0].returncode == 0


def test_there_is_no_password_anywhere(files: dict[str, str]) -> None:
    user_data = yaml.safe_load(files["user-data"])
    (user,) = user_data["users"]
    assert user["lock_passwd"] is True
    assert user_data["ssh_pwauth"] is False
    assert user.keys() & {"passwd", "plain_text_passwd", "hashed_passwd"} == set()
    assert user_data.keys() & {"password", "chpasswd"} == set()


READ = """\
import json, pathlib
from cloudinit.helpers import ConfigMerger, Paths
paths = Paths({"cloud_dir": "/tmp/cloud", "run_dir": "/tmp/run"})
folder = pathlib.Path(paths.get_ipath_cur())
folder.mkdir(parents=True, exist_ok=True)
(folder / "cloud-config.txt").write_text(pathlib.Path("/tmp/checked").read_text())
print(json.dumps(ConfigMerger(paths, base_cfg={}).cfg))
"""


@pytest.mark.parametrize("said", ["localhost", "true"])
def test_site_yml_has_cloud_init_leave_etc_hosts_alone_whatever_the_card_says(
    said: str, files: dict[str, str]
) -> None:
    tasks = yaml.safe_load((REPOSITORY / "roles/bramble_base/tasks/cloud.yml").read_text())
    copied = [task["ansible.builtin.copy"] for task in tasks if "ansible.builtin.copy" in task]
    written = {copy["dest"]: copy["content"] for copy in copied}
    (environment,) = re.findall(r"Environment=(\S+)", "".join(written.values()))
    card = files["user-data"].replace("manage_etc_hosts: localhost", f"manage_etc_hosts: {said}")
    before = json.loads(python(READ, card).stdout)
    after = json.loads(python(READ, card, written, environment).stdout)
    assert before["manage_etc_hosts"] == yaml.safe_load(said)
    assert (after["manage_etc_hosts"], after["preserve_hostname"]) == (False, True)
    assert after["users"] == before["users"]

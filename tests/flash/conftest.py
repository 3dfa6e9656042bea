"""A site to make cards for, and the real play run as an ordinary user."""

from __future__ import annotations

import lzma
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flash.small_image import make_small_image
from tests.flash.stand_in import which

REPOSITORY = Path(__file__).parents[2]
PROGRAM_FOLDER = REPOSITORY / "roles/bramble_flash/files"
NOBODY = 65534
# An ordinary user, but one who may read a checkout and a Python that lie in root's home.
ORDINARY_USER = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--bounding-set=-all,+dac_read_search", "--inh-caps=-all,+dac_read_search"),
    "--ambient-caps=-all,+dac_read_search",
)

sys.path.insert(0, str(PROGRAM_FOLDER))

HOSTS = """\
bramble:
  hosts:
    pi1: {address: 10.77.9.11, role: head}
    pi2: {address: 10.77.9.12}
"""
GROUP_VARS = """\
bramble_user: owner
bramble_network: 10.77.9.0/24
bramble_gateway: 10.77.9.1
bramble_dns: [10.77.9.1]
bramble_timezone: Europe/Berlin
bramble_ssh_keys: ["%s"]
"""


@dataclass(frozen=True)
class Site:
    """A folder of an ordinary user with the plays, an inventory and a key."""

    folder: Path

    @property
    def key(self) -> Path:
        return self.folder / "key"

    @property
    def image(self) -> Path:
        return self.folder / "card.img.xz"

    @property
    def output(self) -> Path:
        return self.folder / "cards"

    def flash(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run flash.yml as an ordinary user and without a terminal."""
        play = find_ansible()
        places = ["-e", f"bramble_flash_output={self.output}"]
        places += ["-e", f"bramble_flash_image_url={self.image}"]
        return subprocess.run(
            (*(ORDINARY_USER if os.getuid() == 0 else ()), play, "flash.yml", *places, *arguments),
            cwd=self.folder / "ansible",
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "ANSIBLE_REMOTE_TMP": str(self.folder / ".ansible/tmp"),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_ROLES_PATH": "../roles",
            "ANSIBLE_INVENTORY": str(self.folder / "inventory"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        }


def find_ansible() -> str:
    beside = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    found = shutil.which("ansible-playbook", path=beside)
    if found is None:
        pytest.skip("ansible-playbook is missing: pip install ansible-core==2.19.14")
    return found


@pytest.fixture
def site() -> Iterator[Site]:
    with made_site() as site:
        yield site


@pytest.fixture
def small_site(site: Site) -> Site:
    """A site whose image is too small to boot and quick to write."""
    give_small_image(site)
    return site


@contextmanager
def made_site() -> Iterator[Site]:
    # Not pytest's tmp_path: that one is closed to the ordinary user who runs the play.
    with tempfile.TemporaryDirectory(prefix="bramble-flash-") as name:
        folder = Path(name)
        for part in ("ansible", "roles"):
            shutil.copytree(
                REPOSITORY / part, folder / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        _make_inventory(folder)
        if os.getuid() == 0:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        yield Site(folder)


def give_small_image(site: Site) -> None:
    if missing := [tool for tool in ("mcopy", "sfdisk", "mkfs.vfat") if not which(tool)]:
        pytest.skip(f"missing: {', '.join(missing)} (mtools fdisk dosfstools)")
    plain = make_small_image(site.folder / "card.img")
    site.image.write_bytes(lzma.compress(plain.read_bytes(), preset=0))


def _make_inventory(folder: Path) -> None:
    key = folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    variables = folder / "inventory/group_vars"
    variables.mkdir(parents=True)
    (folder / "inventory/hosts.yml").write_text(HOSTS)
    (variables / "bramble.yml").write_text(GROUP_VARS % key.with_suffix(".pub").read_text().strip())

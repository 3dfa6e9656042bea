"""The plays as a user runs them: `ansible-playbook` from ansible/, with its ansible.cfg."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
SITE = Path(__file__).parent / "sites" / "common.yml"


@dataclass(frozen=True, slots=True)
class Played:
    """What a play said and how it ended."""

    returncode: int
    output: str

    @property
    def sentences(self) -> list[str]:
        """What the plays complained of, a sentence each."""
        return re.findall(r"^FAILED  (.*)", self.output, re.MULTILINE)

    @property
    def changed(self) -> dict[str, int]:
        """Host → number of changes, as the recap has it."""
        return changes(self.output)


def changes(output: str) -> dict[str, int]:
    """Return host → number of changes, from a play's recap."""
    found = re.findall(r"^(\S+) +(\d+) changes?\b", output, re.MULTILINE)
    return {host: int(count) for host, count in found}


def ansible_playbook() -> str:
    """Return the program's path, of the tests' Python if it is there."""
    beside = Path(sys.executable).parent / "ansible-playbook"
    found = shutil.which(beside) or shutil.which("ansible-playbook")
    if found is None:
        pytest.skip("ansible-playbook is missing: pip install ansible-core==2.19.14")
    return found


def write_site(folder: Path, hosts: str, **values: object) -> Path:
    """Write an inventory: the text of hosts.yml, and values that differ from sites/common.yml.

    `...` leaves a line out.
    """
    (folder / "group_vars").mkdir(parents=True, exist_ok=True)
    (folder / "hosts.yml").write_text(hosts)
    both = yaml.safe_load(SITE.read_text()) | values
    site = {name: value for name, value in both.items() if value is not ...}
    (folder / "group_vars" / "bramble.yml").write_text(yaml.safe_dump(site))
    return folder


def environment(home: Path) -> Mapping[str, str]:
    """Return what Ansible runs in: a home of its own, so that nobody's ssh files are touched."""
    return {
        "PATH": f"{Path(ansible_playbook()).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "ANSIBLE_HOME": str(home / ".ansible"),
        "LC_ALL": "C.UTF-8",
    }

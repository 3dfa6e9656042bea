"""Ansible inventory plugin: what announces itself on this LAN, as hosts of the group bramble."""

from __future__ import annotations

DOCUMENTATION = """
name: bramble
short_description: The Bramble nodes that announce themselves on this LAN
description:
  - Asks C(bramble discover) who announces C(_bramble._tcp) by mDNS, and lists each node as a host
    of the group C(bramble) and of C(bramble_head), C(bramble_stage) or C(bramble_blank).
  - Each host has C(address) and C(ansible_host), its IPv4 address; C(role) if it is the head; and
    C(bramble_discovered), a dictionary of C(role), C(port), C(version) and C(model).
  - Anybody on the LAN can announce anything. What proves a node is its ssh host key, so leave
    host key checking on.
  - The file's name has to end in C(bramble.yml) or C(bramble.yaml).
requirements:
  - the C(bramble) command, on this machine
options:
  plugin:
    description: Names this plugin.
    type: str
    required: true
    choices: [bramble]
  seconds:
    description: How long to listen, in seconds.
    type: float
    default: 3
  program:
    description:
      - The C(bramble) command to ask. A path is relative to the inventory file.
      - If not given, C(.venv/bin/bramble) of the clone that this plugin is in, or else C(bramble)
        on the PATH.
    type: str
    env:
      - name: BRAMBLE_PROGRAM
"""

EXAMPLES = """
# inventory/discovered/bramble.yml: who is on this LAN, without typing an address
plugin: bramble
# Seconds to listen; Pis that just got power need longer than the usual 3
seconds: 30

# ansible-inventory -i ../inventory/discovered --list
# ansible -i ../inventory/discovered bramble_blank -m ansible.builtin.ping -u pi
"""

import json  # noqa: E402  Ansible wants the documentation before the imports
import shutil  # noqa: E402
import subprocess  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402

from ansible.errors import AnsibleParserError  # noqa: E402
from ansible.plugins.inventory import BaseInventoryPlugin  # noqa: E402

GROUP = "bramble"
GRACE_S = 30  # to start Python on a Pi, and to resolve what was heard


class InventoryModule(BaseInventoryPlugin):
    NAME = "bramble"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("bramble.yml", "bramble.yaml"))

    def parse(self, inventory, loader, path, cache=True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        nodes = self._ask(_program(self.get_option("program"), Path(path).parent))
        _refuse_twins(nodes)
        self.inventory.add_group(GROUP)
        for node in nodes:
            self._add(node)

    def _ask(self, program: str) -> list[dict]:
        seconds = self.get_option("seconds")
        command = [program, "discover", "--json", "--seconds", f"{seconds:g}"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False
            )
            nodes = json.loads(done.stdout)["nodes"] if done.stdout else None
        except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
            raise AnsibleParserError(f"`{' '.join(command)}` failed: {error}") from error
        if nodes is None:
            raise AnsibleParserError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
        if remarks := done.stderr.strip():
            self.display.warning(remarks, formatted=True)
        return nodes

    def _add(self, node: dict) -> None:
        name = self.inventory.add_host(node["name"], group=GROUP)
        self.inventory.add_host(name, group=self.inventory.add_group(f"{GROUP}_{node['role']}"))
        told = {key: node[key] for key in ("role", "port", "version", "model")}
        variables = {"address": node["address"], "ansible_host": node["address"]}
        if node["role"] == "head":
            variables["role"] = "head"
        for key, value in {**variables, "bramble_discovered": told}.items():
            self.inventory.set_variable(name, key, value)


def _program(asked: str | None, folder: Path) -> str:
    """Return the path of the bramble command. Raises AnsibleParserError that says what to do."""
    if asked:
        found = shutil.which(folder / asked if "/" in asked else asked)
        missing = f"program: {asked} is not a command that can be run"
    else:
        clone = Path(__file__).resolve().parents[3] / ".venv" / "bin" / "bramble"
        found = shutil.which(clone) or shutil.which("bramble")
        missing = f"found the bramble command neither as {clone} nor on the PATH"
    if found is None:
        raise AnsibleParserError(
            f"{missing}; install it (`make run` in the clone does), "
            "or name it with `program:` or BRAMBLE_PROGRAM"
        )
    return str(found)


def _refuse_twins(nodes: list[dict]) -> None:
    for name, times in Counter(node["name"] for node in nodes).items():
        if times > 1:
            at = ", ".join(node["address"] for node in nodes if node["name"] == name)
            raise AnsibleParserError(
                f"{times} nodes call themselves {name} ({at}): give each its own name, "
                "or turn off the one that is wrong"
            )

"""What bramble_base puts on a node: lines that others' programs read, and scripts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.roles.interface import load

ROLES = Path(__file__).parent.parent / "roles"
BASE = ROLES / "bramble_base"
# As needrestart reads its settings, and asks whether a service may be restarted
NEEDRESTART = """
our %nrconf = (override_rc => { qr(^dbus) => 0 });
do $ARGV[0]; die $@ if $@;
my ($rule) = grep { $ARGV[1] =~ /$_/ } keys %{$nrconf{override_rc}};
print defined $rule ? $nrconf{override_rc}{$rule} : 1;
"""


@pytest.mark.parametrize(
    ("unit", "may_restart"),
    [("bramble-stage@0.service", "0"), ("bramble-web.service", "0"), ("ssh.service", "1")],
)
def test_needrestart_leaves_bramble_alone(unit: str, may_restart: str) -> None:
    if shutil.which("perl") is None:
        pytest.skip("perl is missing: apt-get install perl")
    words = ["perl", "-e", NEEDRESTART, BASE / "files/needrestart.conf", unit]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == may_restart


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("root=X rootwait\n", "root=X rootwait cgroup_enable=memory\n"),
        ("root=X cgroup_disable=memory quiet\n", "root=X quiet cgroup_enable=memory\n"),
        ("root=X cgroup_enable=memory quiet\n", "root=X cgroup_enable=memory quiet\n"),
        ("root=X  ", "root=X cgroup_enable=memory"),
    ],
)
def test_the_kernel_is_asked_to_limit_memory_once(line: str, wanted: str) -> None:
    (task,) = (each for each in load(BASE / "tasks/pi.yml") if "ansible.builtin.replace" in each)
    for _ in range(2):  # a second run changes nothing
        for word in task["loop"]:
            line = re.sub(word["regexp"], word["replace"], line, flags=re.MULTILINE)
    assert line == wanted


@pytest.mark.parametrize(
    "path",
    [
        *(BASE / "files" / name for name in ("bramble-tune", "in_force.sh")),
        ROLES / "bramble_firewall/files/bramble-firewall",
    ],
    ids=lambda path: path.name,
)
def test_a_script_is_plain_sh(path: Path) -> None:
    subprocess.run(["sh", "-n", path], check=True)

"""Memory limits and security updates, from what kernels and apt write."""

from __future__ import annotations

import pytest
from bramble.doctor.limits import CONTROLLERS, GROUPS, memory_limits, updates
from bramble.doctor.machine import Output

from tests.doctor.written_machine import WrittenMachine

HEADER = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
PI_OS = f"{HEADER}cpuset\t0\t80\t1\nmemory\t0\t80\t0\npids\t0\t80\t1\n"
APT = "apt-config dump"
TIMER = "systemctl is-active"


@pytest.mark.parametrize(
    ("files", "level"),
    [
        ({CONTROLLERS: "cpuset cpu io memory pids\n"}, "ok"),
        ({CONTROLLERS: "cpuset cpu io pids\n", GROUPS: PI_OS}, "warning"),
        ({GROUPS: PI_OS}, "warning"),
        ({GROUPS: PI_OS.replace("memory\t0\t80\t0", "memory\t4\t80\t1")}, "ok"),
        ({}, "note"),
    ],
)
def test_memory_limits(files: dict[str, str], level: str) -> None:
    (finding,) = memory_limits(WrittenMachine(files))
    assert finding.level == level
    assert ("cgroup_enable=memory" in finding.advice) is (level == "warning")


@pytest.mark.parametrize(
    ("value", "timer", "level"),
    [("1", "active", "ok"), ("0", "active", "warning"), ("1", "inactive", "warning")],
)
def test_updates(value: str, timer: str, level: str) -> None:
    said = f'APT::Periodic::Unattended-Upgrade "{value}";\n'
    programs: dict[str, str | Output] = {APT: said, TIMER: Output(0, f"{timer}\n")}
    (finding,) = updates(WrittenMachine(programs=programs))
    assert finding.level == level


def test_a_system_without_apt_has_no_updates_to_look_at() -> None:
    assert updates(WrittenMachine())[0].is_absent

"""What another program may have turned off: the kernel's memory limits, security updates."""

from __future__ import annotations

import re

from bramble.doctor.finding import Finding, absent, ok, warning
from bramble.doctor.machine import Machine

BASE = "run ansible-playbook site.yml --tags base"
CONTROLLERS = "/sys/fs/cgroup/cgroup.controllers"  # cgroup v2
PERIODIC = "APT::Periodic::Unattended-Upgrade"
TIMER = "apt-daily-upgrade.timer"
GROUPS = "/proc/cgroups"  # of both versions: name, hierarchy, number, enabled


def memory_limits(machine: Machine) -> list[Finding]:
    """Raspberry Pi OS starts with cgroup_disable=memory: MemoryMax= then does nothing."""
    is_on = _is_on(machine.read(CONTROLLERS), machine.read(GROUPS))
    if is_on is None:
        return [absent("memory limits", "the kernel does not tell of its control groups")]
    if is_on:
        return [ok("memory limits", "the kernel limits memory")]
    sentence = "the kernel does not limit memory (cgroup_disable=memory): MemoryMax= has no effect"
    advice = f"{BASE}, which sets cgroup_enable=memory in cmdline.txt, then reboot.yml"
    return [warning("memory limits", sentence, advice)]


def updates(machine: Machine) -> list[Finding]:
    """Read what apt has in force: a file with a later name overrules the role's."""
    asked = machine.run("apt-config", "dump", PERIODIC)
    found = re.search(r'Unattended-Upgrade "(\w+)"', asked.text)
    timer = machine.run("systemctl", "is-active", TIMER).text.strip()
    if asked.code or not found:
        return [absent("updates", "apt tells of no updates by themselves")]
    if found[1] == "0":
        advice = f"grep -r {PERIODIC} /etc/apt/apt.conf.d: the last of these files decides"
        return [warning("updates", "security updates are turned off", advice)]
    if timer != "active":
        sentence = f"security updates do not come: {TIMER} is {timer or 'not there'}"
        return [warning("updates", sentence, BASE)]
    return [ok("updates", "security updates come by themselves")]


def _is_on(controllers: str | None, groups: str | None) -> bool | None:
    """Whether memory is limited, by cgroup v2's list or by the kernel's of both versions."""
    if controllers:
        return "memory" in controllers.split()
    row = re.search(r"^memory\s+\d+\s+\d+\s+(\d)", groups or "", re.MULTILINE)
    return None if row is None else row[1] == "1"

"""The network interfaces: energy-efficient Ethernet, speed, duplex, error counters."""

from __future__ import annotations

import re

from bramble.doctor.finding import Finding, absent, error, note, ok, warning
from bramble.doctor.machine import MISSING, Machine

NET = "/sys/class/net"
GIGABIT = 1000
ETHERNET = "1"  # ARPHRD_ETHER
ERRORS = ("rx_errors", "tx_errors", "rx_crc_errors", "rx_frame_errors", "collisions")
TOLERABLE = 1e-6  # errors per packet: a healthy gigabit link has none at all for days
CALM_CHANGES = 6  # of the carrier: booting and a plugged cable make two to four
CABLE = "change the cable (Cat 5e or better, all four pairs), then try another port of the switch"


def interfaces(machine: Machine) -> list[str]:
    """Return the Ethernet-like interfaces that are up; real hardware if there is any."""
    names = [path.split("/")[-2] for path in machine.glob(f"{NET}/*/operstate")]
    up = [name for name in names if _is_up(machine, name)]
    return [name for name in up if machine.glob(f"{NET}/{name}/device")] or up


def energy_efficient(machine: Machine) -> list[Finding]:
    return [_energy_efficient(machine, name) for name in interfaces(machine)]


def parse_eee(text: str) -> str | None:
    """Return "active", "inactive" or "disabled" from `ethtool --show-eee`, None if unreported."""
    found = re.search(r"EEE status:\s*(disabled|enabled - (active|inactive))\s*$", text, re.M)
    return (found[2] or found[1]) if found else None


def links(machine: Machine) -> list[Finding]:
    """Speed, duplex and counters of each interface."""
    names = interfaces(machine)
    if not names:
        return [absent("link", "no network interface is up")]
    findings = []
    for name in names:
        if machine.glob(f"{NET}/{name}/wireless"):
            findings.append(
                note("link", f"{name} is Wi-Fi", "carry the ring over cable: Wi-Fi adds 2 ms a hop")
            )
            continue
        findings.append(_speed(machine, name))
        findings.append(_counters(machine, name))
    return findings


def judge_speed(name: str, mbit_s: int | None, duplex: str | None) -> Finding:
    if mbit_s is None or mbit_s <= 0:
        return absent("link", f"{name} does not tell its speed")
    if duplex == "half":
        return error("link", f"{name} runs at {mbit_s} Mbit/s half duplex", CABLE)
    if mbit_s < GIGABIT:
        return warning("link", f"{name} runs at {mbit_s} Mbit/s instead of {GIGABIT}", CABLE)
    return ok("link", f"{name} runs at {mbit_s} Mbit/s, {duplex or 'unknown'} duplex")


def judge_counters(name: str, counters: dict[str, int], packets: int, changes: int) -> Finding:
    """counters   errors since boot, by the kernel's name
    changes    how often the carrier came or went"""
    bad = {key: count for key, count in counters.items() if count}
    listed = ", ".join(f"{key} {count}" for key, count in bad.items())
    if changes > CALM_CHANGES:
        sentence = f"{name} lost its carrier {changes // 2} times since boot"
        return warning("link errors", sentence, f"{CABLE}; see that EEE is off")
    if bad and max(bad.values()) > TOLERABLE * max(packets, 1):
        return warning("link errors", f"{name} counts {listed} in {packets} packets", CABLE)
    if bad:
        return note("link errors", f"{name} counts {listed} in {packets} packets: few enough")
    return ok("link errors", f"{name} counts no error in {packets} packets")


def _is_up(machine: Machine, name: str) -> bool:
    state, kind = machine.read(f"{NET}/{name}/operstate"), machine.read(f"{NET}/{name}/type")
    return name != "lo" and kind == ETHERNET and state in ("up", "unknown")


def _energy_efficient(machine: Machine, name: str) -> Finding:
    output = machine.run("ethtool", "--show-eee", name)
    if output.code == MISSING:
        return absent("EEE", "ethtool is not installed")
    state = parse_eee(output.text) if output.code == 0 else None
    if state is None:
        return absent("EEE", f"{name} has no energy-efficient Ethernet to report")
    if state == "active":
        return warning(
            "EEE",
            f"{name} saves energy (EEE active): slower round trips, lost packets and link flaps "
            "on Pi 5",
            f"run ansible-playbook site.yml --tags base, or ethtool --set-eee {name} eee off",
        )
    if state == "inactive":
        return note(
            "EEE",
            f"{name} would save energy (EEE) if the switch did",
            "run ansible-playbook site.yml --tags base",
        )
    return ok("EEE", f"{name} does not save energy: EEE is off")


def _speed(machine: Machine, name: str) -> Finding:
    speed = machine.read(f"{NET}/{name}/speed")
    is_known = bool(speed) and str(speed).lstrip("-").isdigit()
    return judge_speed(
        name, int(speed or 0) if is_known else None, machine.read(f"{NET}/{name}/duplex")
    )


def _counters(machine: Machine, name: str) -> Finding:
    def count(key: str) -> int:
        text = machine.read(f"{NET}/{name}/{key}")
        return int(text) if text and text.isdigit() else 0

    packets = count("statistics/rx_packets") + count("statistics/tx_packets")
    counters = {key: count(f"statistics/{key}") for key in ERRORS}
    return judge_counters(name, counters, packets, count("carrier_changes"))

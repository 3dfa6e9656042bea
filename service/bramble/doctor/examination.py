"""The checks of one node, in the order in which a person would look."""

from __future__ import annotations

from collections.abc import Callable

from bramble.doctor import board, firewall, limits, network, storage, system
from bramble.doctor.finding import Finding
from bramble.doctor.machine import Machine

Check = Callable[[Machine], list[Finding]]

CHECKS: dict[str, Check] = {
    "power": board.throttling,
    "temperature": board.temperature,
    "governor": board.governor,
    "EEE": network.energy_efficient,
    "links": network.links,
    "card": storage.card,
    "disk": storage.space,
    "clock": system.clock,
    "memory and swap": system.memory,
    "memory limits": limits.memory_limits,
    "firewall": firewall.firewall,
    "updates": limits.updates,
    "units": system.units,
}

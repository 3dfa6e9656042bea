"""The firewall: Bramble's rules as the kernel has them, and who else filters."""

from __future__ import annotations

import json
from typing import Any

from bramble.doctor.finding import Finding, absent, error, ok, warning
from bramble.doctor.machine import MISSING, Machine

PROGRAM = "/usr/local/sbin/bramble-firewall"  # roles/bramble_firewall; 0: in force, 1: not
NOT_IN_FORCE = 1
LOAD = "systemctl reload-or-restart bramble-firewall, or ansible-playbook site.yml --tags firewall"


def firewall(machine: Machine) -> list[Finding]:
    asked = machine.run(PROGRAM, "check")
    if asked.code == MISSING:
        return [absent("firewall", "Bramble's firewall is not installed")]
    if asked.code == NOT_IN_FORCE:
        return [error("firewall", asked.text.strip(), LOAD)]
    if asked.code:
        return [absent("firewall", asked.text.strip() or "its rules cannot be read")]
    return [ok("firewall", "Bramble's rules are in force"), *_others(machine)]


def _others(machine: Machine) -> list[Finding]:
    listed = machine.run("nft", "--json", "list", "chains")
    names = dropping_tables(listed.text) if listed.code == 0 else []
    if not names:
        return []
    sentence = f"{', '.join(names)} drops what comes in, too: a packet has to pass all tables"
    advice = "let the ring's ports (README of bramble_firewall) in there, or turn that firewall off"
    return [warning("firewall", sentence, advice)]


def dropping_tables(text: str) -> list[str]:
    """Return the tables but ours that drop incoming packets, from `nft --json list chains`."""
    try:
        rows: list[dict[str, Any]] = json.loads(text).get("nftables", [])
    except ValueError:
        return []
    chains = [row["chain"] for row in rows if "chain" in row]
    return [
        f"the table {chain['family']} {chain['table']}"
        for chain in chains
        if chain.get("hook") == "input"
        and chain.get("policy") == "drop"
        and (chain["family"], chain["table"]) != ("inet", "bramble")
    ]

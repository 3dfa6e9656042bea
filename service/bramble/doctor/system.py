"""The operating system: clock, memory, swap, and the states of Bramble's units."""

from __future__ import annotations

from bramble.doctor.finding import Finding, absent, error, note, ok, warning
from bramble.doctor.machine import Machine

TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
LOW_SHARE = 0.10  # of memory; below it the kernel begins to drop the mapped weights
OUT_SHARE = 0.03
SWAP_BYTES = 16 << 20  # less may have gone there once and for all
RESTARTED = "restarted "  # in a Status line, until the unit has run in peace for ten minutes
BASE = "run ansible-playbook site.yml --tags base"
UNIT_FIELDS = "Id,Type,ActiveState,SubState,Result,UnitFileState,NRestarts,StatusText"


def clock(machine: Machine) -> list[Finding]:
    """Logs of several nodes are compared by their times, and TLS downloads need the date."""
    asked = machine.run("timedatectl", "show", "-p", "NTPSynchronized")
    is_synchronised = parse_timedatectl(asked.text) if asked.code == 0 else None
    if is_synchronised is None:
        state = machine.clock_state()
        is_synchronised = None if state is None else state != TIME_ERROR
    if is_synchronised is None:
        return [absent("clock", "neither timedatectl nor the kernel tells of the clock")]
    if is_synchronised:
        return [ok("clock", "the clock is synchronised")]
    advice = f"{BASE}; see that the router lets NTP (UDP 123) out: timedatectl timesync-status"
    return [warning("clock", "the clock is not synchronised", advice)]


def parse_timedatectl(text: str) -> bool | None:
    """Read `NTPSynchronized=yes`."""
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {"yes": True, "no": False}.get(values.get("NTPSynchronized", ""))


def memory(machine: Machine) -> list[Finding]:
    values = parse_meminfo(machine.read("/proc/meminfo") or "")
    if not {"MemTotal", "MemAvailable"} <= set(values):
        return [absent("memory", "/proc/meminfo cannot be read")]
    findings = [judge_memory(values["MemTotal"], values["MemAvailable"])]
    total, free = values.get("SwapTotal", 0), values.get("SwapFree", 0)
    return [*findings, judge_swap(total, total - free)]


def parse_meminfo(text: str) -> dict[str, int]:
    """Return bytes by the kernel's names."""
    rows = [line.replace(":", " ").split() for line in text.splitlines()]
    return {row[0]: int(row[1]) * 1024 for row in rows if len(row) == 3 and row[1].isdigit()}


def judge_memory(total: int, available: int) -> Finding:
    sentence = f"{available / 2**20:.0f} of {total / 2**20:.0f} MiB of memory are available"
    advice = (
        "serve a smaller model or quantisation (model.yml), lower max_length or max_rows, "
        "or add a node"
    )
    if available < OUT_SHARE * total:
        return error("memory", sentence, advice)
    return (
        warning("memory", sentence, advice)
        if available < LOW_SHARE * total
        else ok("memory", sentence)
    )


def judge_swap(total: int, used: int) -> Finding:
    if not total:
        return ok("swap", "swap is off")
    if used > SWAP_BYTES:
        sentence = f"{used / 2**20:.0f} MiB are swapped out: a token waits for the card"
        return warning("swap", sentence, f"{BASE}, which turns swap off; see memory")
    return note("swap", "swap is on, and hardly used", BASE)


def units(machine: Machine) -> list[Finding]:
    """Bramble's units on this node, and what they say of themselves."""
    asked = machine.run("systemctl", "show", "--no-pager", "-p", UNIT_FIELDS, "bramble*")
    if asked.code != 0:
        return [absent("units", "systemd does not answer")]
    found = [unit for unit in parse_units(asked.text) if unit.get("Id", "").startswith("bramble")]
    if not found:
        return [note("units", "no unit of Bramble is loaded here", "run ansible-playbook site.yml")]
    return [finding for unit in found for finding in judge_unit(unit)]


def parse_units(text: str) -> list[dict[str, str]]:
    """Read the blocks of `systemctl show`, one a unit."""
    blocks = [block.splitlines() for block in text.split("\n\n")]
    units = [dict(line.split("=", 1) for line in block if "=" in line) for block in blocks]
    return [unit for unit in units if unit]


def judge_unit(unit: dict[str, str]) -> list[Finding]:
    """Return nothing for a unit that is off on purpose."""
    name, state = unit["Id"], unit.get("ActiveState", "unknown")
    restarts = int(unit.get("NRestarts") or 0)
    logs = f"journalctl -u '{name}' -n 50"
    said = f": {unit['StatusText']}" if unit.get("StatusText") else ""
    if state == "failed" or unit.get("SubState") == "auto-restart":
        result = unit.get("Result") or "unknown"
        again = f"; when that is put right: systemctl restart '{name}'" if state == "failed" else ""
        sentence = f"{name} is {state} ({result}), {restarts} restarts{said}"
        return [error("units", sentence, f"{logs}{again}")]
    if state == "activating" and restarts:
        return [error("units", f"{name} does not come up, {restarts} restarts{said}", logs)]
    if state == "active" and RESTARTED in said:
        return [warning("units", f"{name} is active{said}", logs)]
    if state == "active":
        return [ok("units", f"{name} is active{said}")]
    if state in ("activating", "deactivating", "reloading"):
        return [note("units", f"{name} is {state}{said}", f"look again in a minute; {logs}")]
    if unit.get("UnitFileState") == "enabled" and unit.get("Type") != "oneshot":
        start = f"systemctl start '{name}', or ansible-playbook site.yml"
        return [error("units", f"{name} is {state} although it is enabled", start)]
    return []

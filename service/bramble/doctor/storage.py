"""The card and the filesystems on it: kernel errors, read-only remounts, wear, free space."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from bramble.doctor.finding import Finding, absent, error, note, ok, warning
from bramble.doctor.machine import Machine, kernel_log

FULL_BYTES = 256 << 20  # below it the journal and apt fail
TIGHT_BYTES = 2 << 30  # below it a release or a shard no longer fits
SHOWN_LINES = 3
STATE = "/var/lib/bramble"
REPLACE = (
    "save what you need (ansible-playbook backup.yml), flash a new card of a good make "
    "(flash.yml) and run site.yml; an NVMe disk lasts longer"
)
# A filesystem or a disk in trouble, whatever it is called. An image detached from its loop device
# is none, and neither are boot lines that name `errors=remount-ro` among the mount options.
TROUBLE = re.compile(
    r"Remounting filesystem read-only|EXT4-fs error|"
    r"(?:critical \w+ error,|I/O error,|Buffer I/O error on) dev(?:ice)? (?!loop|z?ram)|"
    r"mmcblk\d\w*: (?:error|timed out)|nvme\d\w*: .*(?:timeout|controller is down)"
)
# A card's host, numbered as its block device; others of the name drive Wi-Fi.
HOST = re.compile(
    r"mmc(\d+): (?:error -\d+|Timeout waiting|card never left busy|.*tuning.* failed|"
    r"cache flush error|.*CRC error)"
)


def card(machine: Machine) -> list[Finding]:
    """What the kernel's log, the filesystem and the card itself tell."""
    findings = [_log(machine), _read_only(machine), *_error_counts(machine)]
    return findings + _wear(machine)


def trouble_in(log: list[str], hosts: set[int]) -> list[str]:
    """Return the lines that tell of a failing disk.

    hosts   numbers of the mmc hosts that have a disk
    """
    found = []
    for line in log:
        host = HOST.search(line)
        if TROUBLE.search(line) or (host and int(host[1]) in hosts):
            found.append(line.strip())
    return found


def is_root_read_only(mounts: str) -> bool | None:
    """Read /proc/mounts; the last entry for / is the one in force."""
    rows = [line.split() for line in mounts.splitlines()]
    options = [row[3].split(",") for row in rows if len(row) > 3 and row[1] == "/"]
    return "ro" in options[-1] if options else None


def judge_life(disk: str, text: str) -> Finding:
    """Read an eMMC's `0x01 0x03`: tenths of its life that are used, for both kinds of cells."""
    values = [int(word, 16) for word in text.split() if re.fullmatch(r"0x[0-9a-fA-F]+", word)]
    used = max(values, default=0)
    if not used:
        return absent("wear", f"{disk} does not tell its age")
    if used >= 0x0B:
        return error("wear", f"{disk} is beyond its stated life", REPLACE)
    if used >= 0x09:
        return warning(
            "wear", f"{disk} has used {used * 10 - 10} to {used * 10} % of its life", REPLACE
        )
    return ok("wear", f"{disk} has used {used * 10 - 10} to {used * 10} % of its life")


def space(machine: Machine) -> list[Finding]:
    """Room on the filesystems that hold the system and the shards."""
    found = {path: machine.space(path) for path in ("/", STATE)}
    devices: set[int] = set()
    findings = []
    for path, room in found.items():
        if room is not None and room.device not in devices:
            devices.add(room.device)
            findings.append(judge_space(path, room.total_bytes, room.free_bytes))
    return findings or [absent("disk", "no filesystem tells its room")]


def judge_space(path: str, total_bytes: int, free_bytes: int) -> Finding:
    sentence = f"{free_bytes / 2**30:.1f} of {total_bytes / 2**30:.1f} GiB free on {path}"
    advice = (
        f"remove models that no longer serve from {STATE}/models and old releases from "
        "/opt/bramble/releases; journalctl --vacuum-size=100M"
    )
    if free_bytes < FULL_BYTES:
        return error("disk", sentence, advice)
    return warning("disk", sentence, advice) if free_bytes < TIGHT_BYTES else ok("disk", sentence)


def _log(machine: Machine) -> Finding:
    log = kernel_log(machine)
    if log is None:
        return absent("card", "the kernel's log is empty, or needs sudo")
    disks = [PurePosixPath(path).name for path in machine.glob("/sys/block/mmcblk*")]
    hosts = {int(number) for disk in disks for number in re.findall(r"^mmcblk(\d+)$", disk)}
    lines = trouble_in(log, hosts)
    if not lines:
        return ok("card", "the kernel reports no disk error since boot")
    shown = "; ".join(dict.fromkeys(lines[-SHOWN_LINES:]))
    return error(
        "card", f"the kernel reports {len(lines)} disk errors since boot: {shown}", REPLACE
    )


def _read_only(machine: Machine) -> Finding:
    is_read_only = is_root_read_only(machine.read("/proc/mounts") or "")
    if is_read_only is None:
        return absent("root filesystem", "/proc/mounts names none")
    if is_read_only:
        return error("root filesystem", "the root filesystem is read-only", REPLACE)
    return ok("root filesystem", "the root filesystem is writable")


def _error_counts(machine: Machine) -> list[Finding]:
    findings = []
    for path in machine.glob("/sys/fs/ext4/*/errors_count"):
        disk, count = path.split("/")[-2], machine.read(path)
        if count and count != "0":
            advice = f"back up, then reboot with fsck.mode=force in cmdline.txt; {REPLACE}"
            findings.append(
                error("root filesystem", f"ext4 on {disk} counts {count} errors", advice)
            )
    return findings


def _wear(machine: Machine) -> list[Finding]:
    disks = [path.rsplit("/", 1)[-1] for path in machine.glob("/sys/block/mmcblk[0-9]")]
    if not disks:
        return [absent("wear", "no SD card or eMMC")]
    findings = []
    for disk in disks:
        life = machine.read(f"/sys/block/{disk}/device/life_time")
        findings.append(
            judge_life(disk, life)
            if life
            else note("wear", f"{disk} is a card that does not tell its age")
        )
    return findings

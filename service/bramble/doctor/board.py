"""The board's own health: power, temperature, the processor's clock."""

from __future__ import annotations

import re

from bramble.doctor.finding import Finding, absent, error, ok, warning
from bramble.doctor.machine import Machine, kernel_log
from bramble.observe.health import COOLING, HOT_C, POWER, TOO_HOT_C
from bramble.observe.sensors import TEMPERATURE, THROTTLED, THROTTLED_NOW

SINCE_BOOT = 16  # bit n + 16 remembers bit n; raspberrypi.com, vcgencmd get_throttled


def throttling(machine: Machine) -> list[Finding]:
    """Under-voltage, a capped clock and heat: now, and since boot."""
    bits = _firmware_bits(machine)
    if bits is not None:
        return judge_throttling(bits)
    alarm = _voltage_alarm(machine)
    if alarm is None:
        return [absent("power", "no Raspberry Pi firmware tells of throttling")]
    remembered = count_undervoltage(kernel_log(machine) or [])
    if alarm:
        return [error("power", "under-voltage now", POWER)]
    if remembered:
        return [warning("power", f"under-voltage {remembered} times since boot", POWER)]
    return [ok("power", "no under-voltage now or since boot")]


def judge_throttling(bits: int) -> list[Finding]:
    """Tell what the firmware's bits say."""
    findings = []
    for bit, name in THROTTLED_NOW.items():
        advice = POWER if name == "under-voltage" else COOLING
        if bits >> bit & 1:
            findings.append(error("power", f"{name} now: this node is slowed down", advice))
        elif bits >> (bit + SINCE_BOOT) & 1:
            findings.append(warning("power", f"{name} happened since boot, not now", advice))
    return findings or [ok("power", "no under-voltage and no throttling, now or since boot")]


def parse_throttled(text: str) -> int | None:
    """Read `throttled=0x50005` (vcgencmd) or `50005` (sysfs)."""
    found = re.fullmatch(r"(?:throttled=)?(?:0x)?([0-9a-fA-F]+)", text.strip())
    return int(found[1], 16) if found else None


def count_undervoltage(log: list[str]) -> int:
    """Count what the kernel's raspberrypi-hwmon driver reported."""
    return sum(bool(re.search(r"[Uu]nder-?voltage detected", line)) for line in log)


def temperature(machine: Machine) -> list[Finding]:
    text = machine.read(str(TEMPERATURE))
    if not text or not text.lstrip("-").isdigit():
        return [absent("temperature", "the kernel shows no temperature")]
    celsius = int(text) / 1000
    if celsius >= TOO_HOT_C:
        return [error("temperature", f"{celsius:.0f} °C: the board throttles", COOLING)]
    if celsius >= HOT_C:
        return [warning("temperature", f"{celsius:.0f} °C: the clock goes down here", COOLING)]
    return [ok("temperature", f"{celsius:.0f} °C")]


def governor(machine: Machine) -> list[Finding]:
    paths = machine.glob("/sys/devices/system/cpu/cpufreq/policy*/scaling_governor")
    names = sorted({text for path in paths if (text := machine.read(path))})
    if not names:
        return [absent("governor", "the kernel does not steer this processor's clock")]
    if names == ["performance"]:
        return [ok("governor", "the processor's clock stays high (performance)")]
    return [
        warning(
            "governor",
            f"the CPU governor is {', '.join(names)}, not performance: each token waits for the "
            "clock to rise",
            "run ansible-playbook site.yml --tags base",
        )
    ]


def _firmware_bits(machine: Machine) -> int | None:
    """Ask vcgencmd first: the sysfs file's since-boot bits are cleared by its own driver."""
    asked = machine.run("vcgencmd", "get_throttled")
    texts = [asked.text if asked.code == 0 else None, *(machine.read(str(p)) for p in THROTTLED)]
    return next(
        (bits for text in texts if text and (bits := parse_throttled(text)) is not None), None
    )


def _voltage_alarm(machine: Machine) -> bool | None:
    """The mainline kernel's driver tells of under-voltage alone."""
    for path in machine.glob("/sys/class/hwmon/hwmon*/name"):
        if machine.read(path) == "rpi_volt":
            return machine.read(path.replace("/name", "/in0_lcrit_alarm")) == "1"
    return None

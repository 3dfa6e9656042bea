"""What a node's board tells of itself: temperature, throttling, this process's memory."""

from __future__ import annotations

from pathlib import Path

MEMINFO = Path("/proc/meminfo")
# Of the machine's memory, for weights and KV cache; the rest is the system's, and of small boards
# the stage's own Python and libraries (0.25 GiB) would not fit into a fifth.
USABLE_SHARE, RESERVED_BYTES = 0.8, 768 << 20
TEMPERATURE = Path("/sys/class/thermal/thermal_zone0/temp")  # millidegrees Celsius
# The firmware's bits, as `vcgencmd get_throttled` prints them; hexadecimal.
THROTTLED = (
    Path("/sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled"),  # Pi 5
    Path("/sys/devices/platform/soc/soc:firmware/get_throttled"),  # Pi 4 and older
)
HWMON = Path("/sys/class/hwmon")  # mainline kernels: under-voltage alone, by the driver rpi_volt
THROTTLED_NOW = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "too hot"}


def temperature_c() -> float | None:
    """Return the processor's temperature, or None where the kernel shows none."""
    text = _read(TEMPERATURE)
    return int(text) / 1000 if text else None


def throttled() -> str | None:
    """Return what holds the board back right now, or None if nothing does."""
    text = next((text for path in THROTTLED if (text := _read(path))), None)
    if text is None:
        return THROTTLED_NOW[0] if _is_under_voltage() else None
    bits = int(text, 16)
    return ", ".join(name for bit, name in THROTTLED_NOW.items() if bits >> bit & 1) or None


def resident_bytes() -> int:
    """Return this process's resident memory, mapped files included."""
    return _kib(Path("/proc/self/status"), "VmRSS")  # statm counts pages: 16 KiB on Pi OS


def total_memory_bytes() -> int:
    """Return the machine's memory."""
    return _kib(MEMINFO, "MemTotal")


def usable_memory_bytes() -> int:
    """Return what a stage's weights and KV cache may take of the machine's memory."""
    total = total_memory_bytes()
    return max(0, min(int(total * USABLE_SHARE), total - RESERVED_BYTES))


def available_memory_bytes() -> int:
    """Return what the kernel could give to new work without swapping."""
    return _kib(MEMINFO, "MemAvailable")


def _is_under_voltage() -> bool:
    names = [path for path in HWMON.glob("hwmon*/name") if _read(path) == "rpi_volt"]
    return any(_read(path.with_name("in0_lcrit_alarm")) == "1" for path in names)


def _kib(path: Path, key: str) -> int:
    """Return the bytes of a line such as `VmRSS:  1234 kB`."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except OSError:
        return None

"""Power, heat and clock, from what real firmware and kernels write."""

from pathlib import Path

import pytest
from bramble.doctor import board
from bramble.observe.sensors import TEMPERATURE, THROTTLED

from tests.doctor.written_machine import WrittenMachine

HWMON = "/sys/class/hwmon/hwmon1"


@pytest.mark.parametrize(
    ("text", "bits"),
    [("throttled=0x50005\n", 0x50005), ("throttled=0x0", 0), ("50000", 0x50000), ("error=1", None)],
)
def test_both_spellings_of_the_firmwares_bits_are_read(text: str, bits: int | None) -> None:
    assert board.parse_throttled(text) == bits


def test_under_voltage_now_is_an_error_that_names_the_supply() -> None:
    machine = WrittenMachine(programs={"vcgencmd get_throttled": "throttled=0x50005\n"})
    findings = board.throttling(machine)
    assert [(f.level, f.sentence.split(" now")[0]) for f in findings] == [
        ("error", "under-voltage"),
        ("error", "throttled"),
    ]
    assert "27 W" in findings[0].advice and "cooler" in findings[1].advice


def test_what_happened_since_boot_is_a_warning() -> None:
    [finding] = board.judge_throttling(0x80000)
    assert finding.level == "warning" and finding.sentence.startswith("too hot happened")


@pytest.mark.parametrize("path", THROTTLED)
def test_nothing_is_wrong_with_no_bit_set(path: Path) -> None:
    [finding] = board.throttling(WrittenMachine({str(path): "0\n"}))
    assert finding.level == "ok"


@pytest.mark.parametrize(("alarm", "log", "level"), [("1", "", "error"), ("0", "", "ok")])
def test_a_mainline_kernel_tells_of_under_voltage_by_its_alarm(
    alarm: str, log: str, level: str
) -> None:
    files = {f"{HWMON}/name": "rpi_volt\n", f"{HWMON}/in0_lcrit_alarm": f"{alarm}\n"}
    [finding] = board.throttling(WrittenMachine(files, {"journalctl -k": log}))
    assert finding.level == level


def test_a_mainline_kernel_remembers_under_voltage_in_its_log() -> None:
    files = {f"{HWMON}/name": "rpi_volt\n", f"{HWMON}/in0_lcrit_alarm": "0\n"}
    log = "hwmon hwmon1: Undervoltage detected!\nhwmon hwmon1: Voltage normalised\n"
    [finding] = board.throttling(WrittenMachine(files, {"journalctl -k": log}))
    assert finding.level == "warning" and "1 times since boot" in finding.sentence


@pytest.mark.parametrize(
    ("text", "level"), [("52350", "ok"), ("80100", "warning"), ("86000", "error")]
)
def test_heat_is_judged_by_where_the_firmware_slows_down(text: str, level: str) -> None:
    [finding] = board.temperature(WrittenMachine({str(TEMPERATURE): f"{text}\n"}))
    assert finding.level == level


def test_one_core_with_another_governor_is_named() -> None:
    policy = "/sys/devices/system/cpu/cpufreq/policy{}/scaling_governor"
    files = {policy.format(0): "performance\n", policy.format(4): "ondemand\n"}
    [finding] = board.governor(WrittenMachine(files))
    assert finding.level == "warning" and "ondemand" in finding.sentence


def test_all_cores_on_performance_are_well() -> None:
    files = {"/sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "performance\n"}
    assert board.governor(WrittenMachine(files))[0].level == "ok"

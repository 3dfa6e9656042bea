"""What a node tells of its board is true on every kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bramble.observe import sensors
from bramble.plan.devices import DEVICES, Device

MIB = 1 << 20


def test_resident_memory_grows_by_what_is_touched_whatever_a_page_is() -> None:
    """It was counted in pages of 4 KiB: a quarter of the truth on Raspberry Pi OS, with 16."""
    before = sensors.resident_bytes()
    touched = np.ones(64 * MIB, np.uint8)
    assert 60 * MIB < sensors.resident_bytes() - before < 80 * MIB
    assert touched[-1] == 1


@pytest.mark.parametrize(("total", "usable"), [(16, 12.8), (4, 3.2), (2, 1.25), (0.5, 0)])
def test_a_small_board_keeps_what_system_and_libraries_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, total: float, usable: float
) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: {int(total * MIB)} kB\n")
    monkeypatch.setattr(sensors, "MEMINFO", tmp_path / "meminfo")
    assert sensors.usable_memory_bytes() == int(usable * 1024 * MIB)


@pytest.mark.parametrize("board", DEVICES.values(), ids=lambda board: board.name)
def test_the_predictor_has_the_same_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: Device
) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: {board.memory_bytes >> 10} kB\n")
    monkeypatch.setattr(sensors, "MEMINFO", tmp_path / "meminfo")
    assert sensors.usable_memory_bytes() == board.usable_bytes(is_head=False)


@pytest.mark.parametrize("place", range(len(sensors.THROTTLED)))
@pytest.mark.parametrize(
    ("bits", "causes"),
    [("0", None), ("50000", None), ("50005", "under-voltage, throttled"), ("e0008", "too hot")],
)
def test_every_board_tells_what_slows_it_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, bits: str, causes: str | None
) -> None:
    """Only a Pi 5's file was read: a throttled Pi 4 looked healthy."""
    files = tuple(tmp_path / str(index) for index in range(len(sensors.THROTTLED)))
    files[place].write_text(f"{bits}\n")
    monkeypatch.setattr(sensors, "THROTTLED", files)
    assert sensors.throttled() == causes


@pytest.mark.parametrize(("alarm", "causes"), [("1", "under-voltage"), ("0", None)])
def test_a_mainline_kernel_tells_of_under_voltage_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alarm: str, causes: str | None
) -> None:
    monkeypatch.setattr(sensors, "THROTTLED", ())
    monkeypatch.setattr(sensors, "HWMON", tmp_path)
    for name, text in (("name", "rpi_volt"), ("in0_lcrit_alarm", alarm)):
        (tmp_path / "hwmon1").mkdir(exist_ok=True)
        (tmp_path / "hwmon1" / name).write_text(f"{text}\n")
    assert sensors.throttled() == causes


def test_memory_is_told_in_bytes() -> None:
    total, available = sensors.total_memory_bytes(), sensors.available_memory_bytes()
    assert 256 * MIB < available <= total
    assert sensors.resident_bytes() < total

"""What a node tells of its board is true on every kernel."""

from __future__ import annotations

import numpy as np
from bramble.observe import sensors

MIB = 1 << 20


def test_resident_memory_grows_by_what_is_touched_whatever_a_page_is() -> None:
    """It was counted in pages of 4 KiB: a quarter of the truth on Raspberry Pi OS, with 16."""
    before = sensors.resident_bytes()
    touched = np.ones(64 * MIB, np.uint8)
    assert 60 * MIB < sensors.resident_bytes() - before < 80 * MIB
    assert touched[-1] == 1


def test_memory_is_told_in_bytes() -> None:
    total, available = sensors.total_memory_bytes(), sensors.available_memory_bytes()
    assert 256 * MIB < available <= total
    assert sensors.resident_bytes() < total

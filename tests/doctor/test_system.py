"""Clock, memory, swap and units, from what systemd and the kernel write."""

import pytest
from bramble.doctor import system
from bramble.doctor.machine import Output

from tests.doctor.written_machine import WrittenMachine

MEMINFO = (
    "MemTotal: 16000000 kB\nMemAvailable: {} kB\n"
    "SwapTotal: {} kB\nSwapFree: {} kB\nHugePages_Total: 0\n"
)
UNITS = """Id=bramble-stage@0.service
Type=notify
ActiveState=active
SubState=running
Result=success
UnitFileState=enabled
NRestarts=0
StatusText=llama, layers 0 to 7, 12.1 tokens/s

Id=bramble-head.service
Type=notify
ActiveState=activating
SubState=auto-restart
Result=exit-code
UnitFileState=enabled
NRestarts=17

Id=bramble-web.service
Type=notify
ActiveState=inactive
SubState=dead
Result=success
UnitFileState=enabled
NRestarts=0

Id=bramble-eee.service
Type=oneshot
ActiveState=inactive
SubState=dead
Result=success
UnitFileState=enabled
"""


def clock(text: str | None, state: int | None) -> tuple[str, bool]:
    programs = {} if text is None else {"timedatectl": text}
    [finding] = system.clock(WrittenMachine(programs=programs, clock=state))
    return finding.level, finding.is_absent


def test_a_clock_is_synchronised_by_timedatectl_or_else_by_the_kernel() -> None:
    assert clock("NTPSynchronized=yes\n", 5) == ("ok", False)
    assert clock("NTPSynchronized=no\n", 0) == ("warning", False)
    assert clock(None, 0) == ("ok", False)
    assert clock(None, 5) == ("warning", False)
    assert clock(None, None) == ("note", True)


@pytest.mark.parametrize(
    ("available", "level"), [(9_000_000, "ok"), (1_000_000, "warning"), (400_000, "error")]
)
def test_memory_is_judged_by_what_is_available(available: int, level: str) -> None:
    text = MEMINFO.format(available, 0, 0)
    memory, swap = system.memory(WrittenMachine({"/proc/meminfo": text}))
    assert (memory.level, swap.sentence) == (level, "swap is off")


@pytest.mark.parametrize(("free", "level"), [(100_000, "note"), (10_000, "warning")])
def test_swap_in_use_is_a_warning(free: int, level: str) -> None:
    text = MEMINFO.format(9_000_000, 100_000, free)
    _, swap = system.memory(WrittenMachine({"/proc/meminfo": text}))
    assert swap.level == level


def test_units_are_told_with_their_own_sentence_or_what_became_of_them() -> None:
    stage, head, web = system.units(WrittenMachine(programs={"systemctl show": UNITS}))
    assert stage.level == "ok" and stage.sentence.endswith("layers 0 to 7, 12.1 tokens/s")
    assert head.level == "error" and "17 restarts" in head.sentence
    assert web.level == "error" and "although it is enabled" in web.sentence
    assert "journalctl -u 'bramble-head.service'" in head.advice


def test_a_machine_without_systemd_or_without_units_says_so() -> None:
    offline = WrittenMachine(programs={"systemctl": Output(1, "", "Host is down")})
    assert system.units(offline)[0].is_absent
    assert "no unit" in system.units(WrittenMachine(programs={"systemctl": "\n"}))[0].sentence

"""Interfaces as Linux shows them, and what ethtool says of EEE."""

import pytest
from bramble.doctor import network
from bramble.doctor.machine import Output

from tests.doctor.written_machine import WrittenMachine

EEE = """EEE settings for eth0:
        EEE status: {}
        Tx LPI: 1000000 (us)
        Supported EEE link modes:  100baseT/Full
                                   1000baseT/Full
        Advertised EEE link modes:  100baseT/Full
                                    1000baseT/Full
        Link partner advertised EEE link modes:  Not reported
"""
ETH0 = {
    "type": "1",
    "operstate": "up",
    "speed": "1000",
    "duplex": "full",
    "carrier_changes": "2",
    "device/uevent": "DRIVER=macb",
    "statistics/rx_packets": "900000",
    "statistics/tx_packets": "100000",
    "statistics/rx_errors": "0",
    "statistics/rx_crc_errors": "0",
}


def machine(eee: str | Output = "", **changed: str) -> WrittenMachine:
    files = ETH0 | {key.replace("__", "/"): value for key, value in changed.items()}
    paths = {f"/sys/class/net/eth0/{key}": value for key, value in files.items()}
    paths |= {"/sys/class/net/lo/type": "772", "/sys/class/net/lo/operstate": "unknown"}
    paths |= {"/sys/class/net/docker0/type": "1", "/sys/class/net/docker0/operstate": "up"}
    return WrittenMachine(paths, {"ethtool --show-eee eth0": eee} if eee else {})


def test_real_interfaces_hide_virtual_ones_and_loopback() -> None:
    assert network.interfaces(machine()) == ["eth0"]


@pytest.mark.parametrize(
    ("status", "level"),
    [("enabled - active", "warning"), ("enabled - inactive", "note"), ("disabled", "ok")],
)
def test_eee_is_judged_by_whether_it_is_at_work(status: str, level: str) -> None:
    [finding] = network.energy_efficient(machine(EEE.format(status)))
    assert finding.level == level


@pytest.mark.parametrize("eee", ["", Output(1, "", "netlink error: Operation not supported")])
def test_eee_that_nobody_reports_is_not_available(eee: str | Output) -> None:
    [finding] = network.energy_efficient(machine(eee))
    assert finding.is_absent and finding.level == "note"


def test_a_gigabit_link_without_errors_is_well() -> None:
    assert [finding.level for finding in network.links(machine())] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("changed", "level", "word"),
    [
        ({"speed": "100"}, "warning", "100 Mbit/s instead of 1000"),
        ({"duplex": "half"}, "error", "half duplex"),
        ({"statistics__rx_crc_errors": "40"}, "warning", "rx_crc_errors 40"),
        ({"statistics__rx_errors": "1"}, "note", "few enough"),
        ({"carrier_changes": "31"}, "warning", "lost its carrier 15 times"),
    ],
)
def test_each_fault_of_a_link_is_told(changed: dict[str, str], level: str, word: str) -> None:
    findings = network.links(machine(**changed))
    assert [(f.level, word in f.sentence) for f in findings if f.level != "ok"] == [(level, True)]


def test_an_interface_without_a_speed_is_not_available() -> None:
    assert network.links(machine(speed="-1"))[0].is_absent


def test_a_ring_over_wifi_gets_a_word_about_cables() -> None:
    [finding] = network.links(machine(wireless__x=""))
    assert finding.level == "note" and "cable" in finding.advice

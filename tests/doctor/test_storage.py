"""Cards and filesystems, from lines that real kernels wrote."""

import pytest
from bramble.doctor import storage
from bramble.doctor.machine import Space

from tests.doctor.written_machine import WrittenMachine

HEALTHY = """mmc0: new ultra high speed SDR104 SDXC card at address aaaa
mmcblk0: mmc0:aaaa SN128 119 GiB
EXT4-fs (mmcblk0p2): mounted filesystem 3b6c with ordered data mode. Opts: errors=remount-ro
EXT4-fs (mmcblk0p2): re-mounted 3b6c r/w. Quota mode: none.
mmc1: error -110 whilst initialising SDIO card
Buffer I/O error on dev loop0, logical block 0, async page read
I/O error, dev loop0, sector 0 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2
"""
FAILING = """mmc0: Timeout waiting for hardware interrupt.
mmc0: card never left busy state
mmcblk0: error -110 transferring data, sector 6016528, nr 56, cmd response 0x900, card status 0xb00
blk_update_request: I/O error, dev mmcblk0, sector 330854
Buffer I/O error on device mmcblk0p2, logical block 15169
Buffer I/O error on dev sda1, logical block 7, lost async page write
critical medium error, dev sda, sector 12
EXT4-fs error (device mmcblk0p2): ext4_find_entry:1455: inode #131073: comm bramble: reading
EXT4-fs (mmcblk0p2): Remounting filesystem read-only
"""
CARD = {"/sys/block/mmcblk0/size": "1"}
MOUNTS = "/dev/root / ext4 {},noatime 0 0\nproc /proc proc ro 0 0\n"


def card(log: str = HEALTHY, mounts: str = MOUNTS.format("rw"), **files: str) -> dict[str, str]:
    paths = (
        CARD | {"/proc/mounts": mounts} | {path.replace("__", "/"): t for path, t in files.items()}
    )
    found = storage.card(WrittenMachine(paths, {"journalctl -k": log}))
    return {finding.check: finding.level for finding in found}


def test_a_healthy_cards_log_holds_no_trouble() -> None:
    assert storage.trouble_in(HEALTHY.splitlines(), {0}) == []


def test_every_line_of_a_failing_card_is_trouble() -> None:
    assert storage.trouble_in(FAILING.splitlines(), {0}) == FAILING.splitlines()


def test_a_host_without_a_disk_drives_wifi_and_is_no_trouble() -> None:
    assert len(storage.trouble_in(HEALTHY.splitlines(), {0, 1})) == 1


def test_a_failing_card_is_an_error() -> None:
    assert card(log=FAILING)["card"] == "error"
    assert card()["card"] == "ok"


def test_a_kernel_log_that_nobody_may_read_is_not_available() -> None:
    [finding] = [f for f in storage.card(WrittenMachine(CARD)) if f.check == "card"]
    assert finding.is_absent


def test_a_root_that_became_read_only_is_an_error() -> None:
    assert card(mounts=MOUNTS.format("ro"))["root filesystem"] == "error"
    assert card(mounts=MOUNTS.format("ro") + MOUNTS.format("rw"))["root filesystem"] == "ok"


def test_errors_that_ext4_counted_are_an_error() -> None:
    assert card(__sys__fs__ext4__mmcblk0p2__errors_count="3")["root filesystem"] == "error"
    assert card(__sys__fs__ext4__mmcblk0p2__errors_count="0")["root filesystem"] == "ok"


@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        ("0x01 0x02", "ok", "10 to 20 %"),
        ("0x09 0x01", "warning", "80 to 90 %"),
        ("0x0b 0x0b", "error", "beyond"),
        ("0x00 0x00", "note", "not available here"),
    ],
)
def test_an_emmcs_age_is_read_in_tenths(text: str, level: str, words: str) -> None:
    finding = storage.judge_life("mmcblk0", text)
    assert finding.level == level and words in finding.sentence


@pytest.mark.parametrize(
    ("free", "level"), [(20 << 30, "ok"), (1 << 30, "warning"), (100 << 20, "error")]
)
def test_room_is_judged_by_what_still_fits(free: int, level: str) -> None:
    assert storage.judge_space("/", 60 << 30, free).level == level


def test_one_filesystem_is_told_once() -> None:
    both = {"/": Space(60 << 30, 20 << 30, 1), storage.STATE: Space(60 << 30, 20 << 30, 1)}
    assert len(storage.space(WrittenMachine(disks=both))) == 1
    both[storage.STATE] = Space(500 << 30, 400 << 30, 2)
    assert len(storage.space(WrittenMachine(disks=both))) == 2

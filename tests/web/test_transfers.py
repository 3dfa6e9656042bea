"""Places for files: eight in all, four of one address, and all of them for this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from bramble.errors import Unavailable
from bramble.web.transfers import MAX_OF_ADDRESS, MAX_TRANSFERS, Transfers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "file").write_bytes(b"x")
    return tmp_path / "file"


def test_one_address_leaves_places_for_others(path: Path) -> None:
    transfers = Transfers()
    held = [transfers.open(path, "10.0.0.1") for _ in range(MAX_OF_ADDRESS)]
    with pytest.raises(Unavailable, match=f"{MAX_OF_ADDRESS} to your address"):
        transfers.open(path, "10.0.0.1")
    transfers.open(path, "10.0.0.2").close()
    held.pop().close()
    transfers.open(path, "10.0.0.1").close()
    for transfer in held:
        transfer.close()
        transfer.close()  # once more gives back nothing


def test_this_machine_may_take_all(path: Path) -> None:
    transfers = Transfers()
    held = [transfers.open(path, "127.0.0.1") for _ in range(MAX_TRANSFERS)]
    with pytest.raises(Unavailable, match=f"and {MAX_TRANSFERS} may be"):
        transfers.open(path, "10.0.0.1")
    for transfer in held:
        transfer.close()


def test_a_file_that_is_gone_takes_no_place(path: Path) -> None:
    transfers = Transfers()
    for _ in range(2 * MAX_TRANSFERS):
        with pytest.raises(Unavailable, match="the file is gone"):
            transfers.open(path.with_name("none"), "10.0.0.1")

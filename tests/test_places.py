"""A command that finds no head says where one is, or what to do."""

from pathlib import Path

import pytest
from bramble.commands import places
from bramble.errors import Unavailable

PORT = 18099


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without head, stage and ring."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(places, "SYSTEM_DOOR", tmp_path / "head.sock")
    monkeypatch.setattr(places, "STAGE_CONFIG", tmp_path / "stage-0.yml")


def make_local_ring() -> None:
    (folder := places.runtime_folder(PORT)).mkdir()
    (folder / "head.sock").touch()


def test_this_nodes_head_goes_before_the_local_ring() -> None:
    make_local_ring()
    assert places.default_door(PORT) == places.local_door(PORT)
    places.SYSTEM_DOOR.touch()
    assert places.default_door(PORT) == f"ipc://{places.SYSTEM_DOOR}"


class Forbidden:
    def exists(self) -> bool:
        raise PermissionError


def test_who_may_not_ask_this_nodes_head_is_told_to_use_sudo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "SYSTEM_DOOR", Forbidden())
    with pytest.raises(Unavailable, match="root and the group bramble: use sudo"):
        places.default_door(PORT)
    make_local_ring()
    assert places.default_door(PORT) == places.local_door(PORT)


def test_a_node_without_head_names_the_one_that_has_it() -> None:
    places.STAGE_CONFIG.write_text(
        "node: pi2\nhead: tcp://10.0.0.11:7100\nhead_node: pi1\nfiles: http://10.0.0.11:8080/files\n"
    )
    with pytest.raises(Unavailable, match=r"ask on pi1, or open http://10\.0\.0\.11:8080$"):
        places.default_door(PORT)


def test_on_the_heads_own_node_its_unit_is_named() -> None:
    places.STAGE_CONFIG.write_text(
        "node: pi1\nhead: tcp://10.0.0.11:7100\nhead_node: pi1\nfiles: http://10.0.0.11:8080/files\n"
    )
    with pytest.raises(Unavailable, match="does not run: see `systemctl status bramble-head`"):
        places.default_door(PORT)


def test_where_nothing_runs_it_is_said_how_to_start() -> None:
    with pytest.raises(Unavailable, match=f"on port {PORT}: start one with `bramble run`"):
        places.default_door(PORT)

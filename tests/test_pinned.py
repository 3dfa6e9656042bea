"""A node's network setting is read by its own network manager before anything changes."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PATH = Path(__file__).parents[1] / "roles/bramble_network/files/pinned.py"
WISH = {"address": "10.9.8.7", "network": "10.9.8.0/24", "gateway": "10.9.8.1", "dns": ["10.9.8.1"]}
LACKS = [
    *([] if os.geteuid() == 0 else ["root"]),
    *([] if Path("/usr/lib/systemd/systemd-networkd").exists() else ["systemd-networkd"]),
    *([] if shutil.which("unshare") else ["unshare"]),
]
with_networkd = pytest.mark.skipif(bool(LACKS), reason=f"needs {' and '.join(LACKS)}")


@pytest.fixture(scope="module")
def pinned() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pinned", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wish(pinned: ModuleType, **values: Any) -> Any:
    made = pinned.Wish(**{**WISH, **values})
    made.interface = "lan7"
    return made


def test_what_is_not_as_wished_is_named(pinned: ModuleType) -> None:
    as_wished = (["10.9.8.7/24"], ["10.9.8.1"], ["10.9.8.1"])
    assert wish(pinned).differences(*as_wished) == []
    assert wish(pinned).differences([], [], []) == [
        "lan7 has no 10.9.8.7/24",
        "no default route leads to 10.9.8.1",
        "10.9.8.1 is no name server of lan7",
    ]
    second = ["10.9.8.7/24", "10.9.8.99/24", "10.9.8.50/32", "10.1.1.1/24"]  # /32: keepalived's
    assert wish(pinned).differences(second, *as_wished[1:]) == ["lan7 has 10.9.8.99/24 too"]


@with_networkd
def test_a_setting_that_comes_up_from_nothing_is_well(pinned: ModuleType, tmp_path: Path) -> None:
    for values in ({}, {"gateway": ""}, {"dns": []}, {"dns": ["10.9.8.1", "1.1.1.1"]}):
        found = problems(pinned, wish(pinned, **values), tmp_path)
        assert found == [], found


@with_networkd
@pytest.mark.parametrize("server", ["10.9.8", "router", "10.9.8.1, 1.1.1.1"])
def test_a_name_server_that_networkd_would_drop_is_a_problem(
    pinned: ModuleType, tmp_path: Path, server: str
) -> None:
    (problem, *_) = problems(pinned, wish(pinned, dns=[server]), tmp_path)
    assert "has networkd complain of its network setting" in problem


@with_networkd
def test_a_file_that_would_win_at_the_next_boot_is_named(
    pinned: ModuleType, tmp_path: Path
) -> None:
    other = tmp_path / "etc/systemd/network/01-other.network"
    other.parent.mkdir(parents=True)
    other.write_text("[Match]\nName=lan*\n[Network]\nAddress=10.9.8.66/24\n")
    (problem,) = problems(pinned, wish(pinned), tmp_path)
    assert problem.startswith("would follow /etc/systemd/network/01-other.network for lan7")


def problems(pinned: ModuleType, wished: Any, root: Path) -> list[str]:
    """What networkd says of a copy of the setting, in a network of its own."""
    networkd = pinned.Networkd(wished)
    pinned._write(root / str(networkd.path)[1:], networkd.text(), networkd.mode)
    found: list[str] = pinned.networkd_problems(wished, root, networkd.path)
    return found

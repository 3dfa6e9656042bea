"""A LAN of two namespaces, and nodes on it that announce themselves with zeroconf."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.discover.lan import NODE_ADDRESS, Lan, cabled

Announce = Callable[..., None]


@pytest.fixture(scope="session")
def lan() -> Iterator[Lan]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2: apt-get install iproute2")
    with cabled() as lan:
        yield lan


@pytest.fixture
def announce(lan: Lan) -> Iterator[Announce]:
    """Give a function that puts nodes on the LAN until the test ends: one dict each."""
    with ExitStack() as stack:
        yield lambda *nodes: stack.enter_context(_announced(lan, nodes))


def ansible(program: str) -> str:
    """Return the path of one of ansible-core's programs, of the tests' Python if it is there."""
    beside = Path(sys.executable).parent / program
    found = shutil.which(beside) or shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is missing: pip install ansible-core")
    return found


def node(name: str, role: str = "stage", address: str = NODE_ADDRESS, **more: str) -> dict:
    port = 8080 if role == "head" else 22
    return {
        "port": port,
        "address": address,
        "properties": {"name": name, "role": role, **more},
    }


@contextmanager
def _announced(lan: Lan, nodes: tuple[dict, ...]) -> Iterator[None]:
    script = Path(__file__).parent / "announcer.py"
    process = subprocess.Popen(
        lan.on_node(sys.executable, script, *map(json.dumps, nodes)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield
    finally:
        process.communicate()  # end of its input: it says goodbye and ends

"""Real gunicorn in a process of its own, serving the fake head."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bramble.config import WebConfig
from bramble.web.app import create_app
from flask.testing import FlaskClient

from tests.ports import free_ports
from tests.web.crowd import allow_descriptors
from tests.web.fake_client import FakeClient

ROOT = Path(__file__).parent.parent.parent
MAX_RUNNING = 40
PROGRAM = f"""
import sys
from bramble.config import WebConfig
from bramble.web.server import serve
from tests.web.fake_client import FakeClient
config = WebConfig(listen=sys.argv[1], header_timeout_s=2, client_timeout_s=2)
serve(config, lambda: FakeClient({MAX_RUNNING}))
"""


@pytest.fixture
def fake() -> FakeClient:
    return FakeClient()


@pytest.fixture
def http(fake: FakeClient) -> FlaskClient:
    return create_app(WebConfig(), fake).test_client()


@dataclass(frozen=True)
class Server:
    url: str
    worker: int  # the process that answers


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A gunicorn that has answered."""
    allow_descriptors(5000)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = [sys.executable, "-c", PROGRAM, address]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        _await(f"http://{address}/healthz")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        yield Server(f"http://{address}", int(children))
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def url(server: Server) -> str:
    """Its base URL."""
    return server.url


def get_json(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=5) as response:
        document: dict[str, Any] = json.loads(response.read())
        return document


def _await(url: str) -> None:
    for _ in range(200):
        try:
            get_json(url)
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")

"""Real gunicorn in a process of its own, serving the fake head."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bramble.config import WebConfig
from bramble.web.app import create_app
from flask.testing import FlaskClient

from tests.ports import free_ports
from tests.web.fake_client import FakeClient

ROOT = Path(__file__).parent.parent.parent
MAX_RUNNING = 40
PROGRAM = f"""
import sys
from bramble.config import WebConfig
from bramble.web.server import serve
from tests.web.fake_client import FakeClient
serve(WebConfig(listen=sys.argv[1], client_timeout_s=2), lambda: FakeClient({MAX_RUNNING}))
"""


@pytest.fixture
def fake() -> FakeClient:
    return FakeClient()


@pytest.fixture
def http(fake: FakeClient) -> FlaskClient:
    return create_app(WebConfig(), fake).test_client()


@pytest.fixture(scope="session")
def url() -> Iterator[str]:
    """The base URL of a gunicorn that has answered."""
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = [sys.executable, "-c", PROGRAM, address]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        _await(f"http://{address}/healthz")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(10)


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

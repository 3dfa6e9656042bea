"""The servers that the clients ask, and what came of each client's calls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.ports import LOOPBACK, free_ports

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
INSTALLED = ROOT / ".venv" / "clients"  # a virtual environment for each folder of scripts
SCRIPTS = sorted(FOLDER.glob("*/with_*"))
READY_S = 120
SCRIPT_S = 500
SERVE_SCRIPTED = """
import sys
from bramble.config import WebConfig
from bramble.web.server import serve
from tests.clients.scripted_client import ScriptedClient
serve(WebConfig(listen=sys.argv[1]), ScriptedClient)
"""
ENVIRONMENT = os.environ | {
    "PYTHONPATH": str(FOLDER),
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it asks the internet for prices
}


@contextmanager
def serving(command: list[str], port: int) -> Iterator[str]:
    """Run a server until the block ends; return its URL once it is ready."""
    process = subprocess.Popen(command, cwd=ROOT)
    url = f"http://{LOOPBACK}:{port}"
    try:
        _wait_for(f"{url}/readyz", process)
        yield url
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def urls() -> Iterator[list[str]]:
    """URL of a ring that runs the embedded model, and of a scripted head behind the real web."""
    ring, scripted = free_ports(2)
    bramble = [sys.executable, "-m", "bramble", "run", "--port", str(ring)]
    script = [sys.executable, "-c", SERVE_SCRIPTED, f"{LOOPBACK}:{scripted}"]
    with serving(bramble, ring) as first, serving(script, scripted) as second:
        yield [first, second]


@pytest.fixture(scope="session")
def verdicts(urls: list[str]) -> Iterator[Callable[[Path], list[dict[str, Any]]]]:
    """Run all scripts, two at once; return a function that has the verdicts of one."""
    with ThreadPoolExecutor(2) as pool:
        running: dict[Path, Future[list[dict[str, Any]]]] = {
            script: pool.submit(_run, script, urls) for script in SCRIPTS
        }
        yield lambda script: running[script].result()
        pool.shutdown(cancel_futures=True)


def _run(script: Path, urls: list[str]) -> list[dict[str, Any]]:
    environment = INSTALLED / ("newest" if script.suffix == ".mjs" else script.parent.name)
    program = environment / "bin" / ("node" if script.suffix == ".mjs" else "python")
    if not program.exists():
        pytest.fail(f"{program} is missing: make test-clients installs it")
    done = subprocess.run(
        [program, script, *urls], env=ENVIRONMENT, capture_output=True, text=True, timeout=SCRIPT_S
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} is not ready; its process: {process.poll()}")

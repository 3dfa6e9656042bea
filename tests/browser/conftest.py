"""A real headless Chromium on a local server; fails on console errors and foreign requests."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from werkzeug.serving import make_server


def _stand_in() -> Any:
    spec = importlib.util.spec_from_file_location(
        "stand_in", Path(__file__).with_name("stand_in.py")
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def serve() -> Iterator[Any]:
    servers = []

    def start(**options: Any) -> tuple[str, Any]:
        app = _stand_in().create_app(**options)
        server = make_server("127.0.0.1", 0, app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}", app

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1100, "height": 760})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: faults.append(r.url) if not _is_local(r.url) else None)
    yield page
    context.close()
    assert not [fault for fault in faults if "Failed to load resource" not in fault]


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "blob:", "data:"))

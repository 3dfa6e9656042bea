"""The real web application on a scripted head, seen by a real headless Chromium.

A page fails its test on errors in the console and on requests to anywhere else.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import bramble
import pytest
from bramble.config import WebConfig
from bramble.web.app import create_app
from playwright.sync_api import Browser, Page, Route
from werkzeug.serving import make_server

VENDOR_URL = "/static/vendor"
VENDOR = Path(bramble.__file__).parent / "web" / "static" / "vendor"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[str, Any]]]:
    """Return a function that starts the application and returns (URL, its scripted client)."""
    servers = []

    def start(**options: Any) -> tuple[str, Any]:
        client = _load("scripted_client").ScriptedClient(**options)
        server = make_server("127.0.0.1", 0, create_app(WebConfig(), client), threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}", client

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1100, "height": 760})
    context.route("**/*.woff2", _give_font)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: faults.append(r.url) if not _is_local(r.url) else None)
    yield page
    context.close()
    assert not [fault for fault in faults if "Failed to load resource" not in fault]


def _give_font(route: Route) -> None:
    """Werkzeug leaves a file open whose reader is gone, as a page is that a test leaves early."""
    route.fulfill(path=VENDOR / Path(urlsplit(route.request.url).path).relative_to(VENDOR_URL))


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "blob:", "data:"))

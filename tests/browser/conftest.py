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

import pytest
from bramble.config import WebConfig
from bramble.web.app import create_app
from playwright.sync_api import Browser, Page
from werkzeug.serving import make_server


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

    def start(config: WebConfig | None = None, **options: Any) -> tuple[str, Any]:
        client = _load("scripted_client").ScriptedClient(**options)
        app = create_app(config or WebConfig(), client)
        app.wsgi_app = _whole_files(app.wsgi_app)  # type: ignore[method-assign]
        server = make_server("127.0.0.1", 0, app, threaded=True)
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
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("request", lambda r: faults.append(r.url) if not _is_local(r.url) else None)
    yield page
    context.close()
    assert not [fault for fault in faults if "Failed to load resource" not in fault]


def _whole_files(application: Any) -> Callable[..., Any]:
    """Read files before they are sent: Werkzeug leaves one open whose reader goes away."""

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        pieces = application(environ, start_response)
        if not environ["PATH_INFO"].startswith("/static/"):
            return pieces
        try:
            return [b"".join(pieces)]
        finally:
            pieces.close()

    return answer


def _is_local(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "blob:", "data:"))

"""One log line and one count per HTTP request, written when its response has been sent.

The line names the route, never the path as sent, and no part of a prompt or a reply.
"""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import Any

from flask import Flask, Response, g, request

from bramble.web.service import current_service

log = logging.getLogger("bramble.web")


def register(app: Flask) -> None:
    app.before_request(_begin)
    app.after_request(_end)


def note(**members: Any) -> dict[str, Any]:
    """Add members to the current request's line; returns them all, to be added to later."""
    notes: dict[str, Any] = g.notes
    notes.update(members)
    return notes


def _begin() -> None:
    g.started_at = time.monotonic()
    g.notes = {}


def _end(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    route = request.url_rule.rule if request.url_rule else "unknown"
    line = {"method": request.method, "route": route, "status": response.status_code}
    line["peer"] = request.remote_addr
    count = partial(current_service().metrics.count_request, route, response.status_code)
    response.call_on_close(partial(_record, line, g.notes, g.started_at, count))
    return response


def _record(line: dict[str, Any], notes: dict[str, Any], started_at: float, count: Any) -> None:
    duration_s = time.monotonic() - started_at
    count(duration_s)
    # Probes and status pages ask every few seconds: not worth a write to an SD card.
    level = logging.DEBUG if line["method"] == "GET" and line["status"] < 400 else logging.INFO
    members = line | {"duration_s": f"{duration_s:.3f}"} | notes
    log.log(level, "request %s", " ".join(f"{key}={value}" for key, value in members.items()))

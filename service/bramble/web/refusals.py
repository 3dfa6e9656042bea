"""What is answered before a request is one: HTTP responses as bytes, in the API's error shape."""

from __future__ import annotations

import json
from http import HTTPStatus

from bramble.web.arrival import MAX_HEADER_BYTES, MIN_BYTES_S, Patience

RETRY_AFTER_S = 5


def refusal(status: int, message: str) -> bytes:
    """Return the response that says so and ends the connection."""
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    code = {413: "request_too_large", 429: "rate_limit_exceeded", 503: "unavailable"}.get(status)
    error = {"message": message, "type": kind, "param": None, "code": code}
    body = json.dumps({"error": error}).encode()
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if status in (429, 503):
        lines.append(f"Retry-After: {RETRY_AFTER_S}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def late_header(patience: Patience) -> bytes:
    return refusal(
        408,
        f"the request's header was not complete within {patience.header_s:g} s of its first byte; "
        "send it at once",
    )


def late_body(patience: Patience) -> bytes:
    return refusal(
        408,
        "the body did not arrive in time; send it whole, and not for more than "
        f"{patience.body_s:g} s slower than {MIN_BYTES_S} bytes a second",
    )


def large_header() -> bytes:
    return refusal(431, f"the header is larger than the {MAX_HEADER_BYTES} bytes that are read")


def large_body(patience: Patience) -> bytes:
    allowed = patience.max_body_bytes
    return refusal(
        413, f"the body is larger than the {allowed} bytes that are read; send a shorter one"
    )


def crowded(max_per_address: int) -> bytes:
    return refusal(
        429,
        f"{max_per_address} requests from your address are being answered already; retry later "
        "(connections_per_address in web.yml; a proxy's users count as one address)",
    )


def full() -> bytes:
    return refusal(503, "too many long requests are on their way at once; retry later")

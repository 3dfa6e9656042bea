"""What is answered before a request is one: HTTP responses as bytes, in the shape of its URL."""

from __future__ import annotations

import json
from http import HTTPStatus

from bramble.web.arrival import MAX_HEADER_BYTES, MIN_BYTES_S, Patience
from bramble.web.dialects import of_path
from bramble.web.problem import Problem

RETRY_AFTER_S = 5
_CODES = {413: "request_too_large", 429: "rate_limit_exceeded", 503: "unavailable"}


def answer(problem: Problem, path: bytes) -> bytes:
    """Return the response that says so and ends the connection.

    path  what was asked, as far as it is here
    """
    dialect = of_path(path.decode("latin-1"))
    body = json.dumps(dialect.error(problem)).encode()
    lines = [
        f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if problem.status in (429, 503):
        lines.append(f"Retry-After: {RETRY_AFTER_S}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def refusal(status: int, message: str) -> Problem:
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"
    return Problem(status, message, kind, None, _CODES.get(status))


def late_header(patience: Patience) -> Problem:
    return refusal(
        408,
        f"the request's header was not complete within {patience.header_s:g} s of its first byte; "
        "send it at once",
    )


def late_body(patience: Patience) -> Problem:
    return refusal(
        408,
        "the body did not arrive in time; send it whole, and not for more than "
        f"{patience.body_s:g} s slower than {MIN_BYTES_S} bytes a second",
    )


def large_header() -> Problem:
    return refusal(431, f"the header is larger than the {MAX_HEADER_BYTES} bytes that are read")


def large_body(patience: Patience) -> Problem:
    allowed = patience.max_body_bytes
    return refusal(
        413, f"the body is larger than the {allowed} bytes that are read; send a shorter one"
    )


def crowded(max_per_address: int) -> Problem:
    return refusal(
        429,
        f"{max_per_address} requests from your address are being answered already; retry later "
        "(connections_per_address in web.yml; a proxy's users count as one address)",
    )


def full() -> Problem:
    return refusal(503, "too many long requests are on their way at once; retry later")

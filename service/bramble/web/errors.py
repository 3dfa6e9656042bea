"""Every error as OpenAI's JSON: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from typing import Any

from flask import Flask, Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from bramble.errors import (
    BadInput,
    BrambleError,
    Elsewhere,
    KeyReused,
    ModelNotFound,
    OtherSite,
    PoisonRequest,
    QueueFull,
    ReplyNotFound,
    TooLarge,
    Unavailable,
)
from bramble.web.service import current_service

# The first class that an error is an instance of decides: (class, HTTP status, type, code).
_FAMILIES: tuple[tuple[type[BrambleError], int, str, str | None], ...] = (
    (ModelNotFound, 404, "invalid_request_error", "model_not_found"),
    (ReplyNotFound, 404, "invalid_request_error", "reply_not_found"),
    (KeyReused, 422, "invalid_request_error", "idempotency_key_reused"),
    (TooLarge, 413, "invalid_request_error", "request_too_large"),
    (Elsewhere, 421, "invalid_request_error", "misdirected_request"),
    (OtherSite, 403, "invalid_request_error", "other_site"),
    (BadInput, 400, "invalid_request_error", None),
    (QueueFull, 429, "rate_limit_error", "rate_limit_exceeded"),
    (Unavailable, 503, "server_error", "unavailable"),
    (PoisonRequest, 500, "server_error", "poison_request"),
    (BrambleError, 500, "server_error", "internal_error"),
)
_HTTP_CODES = {404: "unknown_url", 405: "method_not_allowed", 413: "request_too_large"}


def register(app: Flask) -> None:
    app.register_error_handler(BrambleError, _bramble_error)
    app.register_error_handler(HTTPException, _http_error)


def status_of(error: BrambleError) -> int:
    return next(status for family, status, _, _ in _FAMILIES if isinstance(error, family))


def describe(error: BrambleError) -> dict[str, Any]:
    """Return the body that tells a client of `error`."""
    kind, code = next(
        (kind, code) for family, _, kind, code in _FAMILIES if isinstance(error, family)
    )
    if isinstance(error, BadInput):
        return _body(str(error), kind, error.param, error.code or code)
    return _body(str(error), kind, None, code)


def _body(message: str, kind: str, param: str | None, code: str | None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _bramble_error(error: BrambleError) -> Response:
    response = jsonify(describe(error))
    response.status_code = status_of(error)
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, PoisonRequest):  # which clients of OpenAI's heed before the status
        response.headers["x-should-retry"] = "false"
    return response


def _http_error(error: HTTPException) -> Response:
    """Answer what Flask refused: unknown paths, methods, bodies too large, and our own faults."""
    status = error.code or 500
    kind = "invalid_request_error" if status < 500 else "server_error"
    response = jsonify(_body(_explain(error), kind, None, _HTTP_CODES.get(status)))
    response.status_code = status
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _explain(error: HTTPException) -> str:
    if error.code == 404 and error.description == NotFound.description:
        return f"no such URL: {request.method} {request.path[:80]}; the API is below /v1"
    if isinstance(error, MethodNotAllowed):
        methods = " or ".join(sorted({*(error.valid_methods or ())} - {"HEAD", "OPTIONS"}))
        return f"{request.method} is not allowed here; use {methods}"
    if error.code == 413:
        allowed = current_service().config.max_body_bytes
        return f"the body is larger than the {allowed} bytes that are read; send a shorter one"
    return error.description or error.name

"""What went wrong with a request, before a dialect gives it its shape."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind` and `code` are OpenAI's words; other dialects go by the status."""

    status: int  # of HTTP; in a stream, which would have been the status
    message: str
    kind: str
    param: str | None = None
    code: str | None = None


def problem_of(error: BrambleError) -> Problem:
    _, status, kind, code = next(each for each in _FAMILIES if isinstance(error, each[0]))
    if isinstance(error, BadInput):
        return Problem(status, str(error), kind, error.param, error.code or code)
    return Problem(status, str(error), kind, None, code)


def http_problem(status: int, message: str) -> Problem:
    """Return the problem of a request that never came to be one."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return Problem(status, message, kind, None, _HTTP_CODES.get(status))

"""Every error as JSON, in the shape of the dialect whose URL was asked."""

from __future__ import annotations

from flask import Flask, Response, current_app, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from bramble.errors import BrambleError, PoisonRequest, Unavailable
from bramble.web.dialects import of_path
from bramble.web.problem import Problem, http_problem, problem_of
from bramble.web.service import current_service

# What OpenAI's API has elsewhere, for models of other kinds.
_OTHER_KINDS = ("embeddings", "images", "audio", "moderations", "rerank", "fine_tuning")

_OFFERED = (
    "/v1/chat/completions, /v1/completions, /v1/responses and /v1/models as OpenAI has them, "
    "/v1/messages as Anthropic, /api/chat, /api/generate and /api/tags as Ollama"
)


def register(app: Flask) -> None:
    app.register_error_handler(BrambleError, _bramble_error)
    app.register_error_handler(HTTPException, _http_error)


def _bramble_error(error: BrambleError) -> Response:
    response = _respond(problem_of(error))
    if isinstance(error, Unavailable):
        response.headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, PoisonRequest):  # which clients of OpenAI's heed before the status
        response.headers["x-should-retry"] = "false"
    return response


def _http_error(error: HTTPException) -> Response:
    """Answer what Flask refused: unknown paths, methods, bodies too large, and our own faults."""
    if isinstance(error, MethodNotAllowed) and _names_no_reply(error):
        error = NotFound()
    response = _respond(http_problem(error.code or 500, _explain(error)))
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _names_no_reply(error: MethodNotAllowed) -> bool:
    """True where the URL was taken for a reply's and names something that is not here, such as
    /v1/messages/batches: clients then need a 404, as for any URL that is not here."""
    urls = current_app.url_map.bind("")
    for method in error.valid_methods or ():
        _, values = urls.match(request.path, method)
        reply_id = values.get("reply_id")
        return reply_id is not None and not reply_id.startswith(of_path(request.path).id_prefix)
    return False


def _respond(problem: Problem) -> Response:
    response = jsonify(of_path(request.path).error(problem))
    response.status_code = problem.status
    return response


def _explain(error: HTTPException) -> str:
    if error.code == 404 and error.description == NotFound.description:
        return f"no such URL: {request.method} {request.path[:80]}; {_offers()}"
    if isinstance(error, MethodNotAllowed):
        methods = " or ".join(sorted({*(error.valid_methods or ())} - {"HEAD", "OPTIONS"}))
        return f"{request.method} is not allowed here; use {methods}"
    if error.code == 413:
        allowed = current_service().config.max_body_bytes
        return f"the body is larger than the {allowed} bytes that are read; send a shorter one"
    return error.description or error.name


def _offers() -> str:
    """Say what there is instead, and at which address a client finds it."""
    found = [word for word in request.path.split("/") if word in _OTHER_KINDS]
    lack = f"the model served here writes text and has no {found[0]}; " if found else ""
    return (
        f"{lack}offered are {_OFFERED}; a client of OpenAI's API takes {request.host_url}v1 as its "
        f"base URL, one of Anthropic's or Ollama's {request.host_url[:-1]}"
    )

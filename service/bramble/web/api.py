"""OpenAI's API: models, chat completions and the older text completions."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from bramble.errors import ModelNotFound, ReplyNotFound
from bramble.web.about import About
from bramble.web.access import note
from bramble.web.body import read_object
from bramble.web.choices import Choices
from bramble.web.connection import connection, read_body
from bramble.web.events import COMMENT_S, HEADERS, EventWriter
from bramble.web.identity import PREFIXES, identify, read_id
from bramble.web.parameters import MAX_CHOICES, Asked, read_chat, read_text
from bramble.web.place import Place, read_place
from bramble.web.reply import Part, open_reply
from bramble.web.service import current_service
from bramble.web.tally import Tally
from bramble.wire.messages import Delta, Done

blueprint = Blueprint("api", __name__, url_prefix="/v1")


@blueprint.get("/models")
def models() -> Response:
    return jsonify({"object": "list", "data": [_model()]})


@blueprint.get("/models/<path:name>")
def model(name: str) -> Response:
    _check_model(name)
    return jsonify(_model())


@blueprint.post("/chat/completions")
def chat_completions() -> Response:
    document = _read_body()
    return _ask(read_chat(document), "chat", document)


@blueprint.post("/completions")
def completions() -> Response:
    document = _read_body()
    return _ask(read_text(document), "text", document)


@blueprint.get("/chat/completions/<reply_id>")
def chat_completion(reply_id: str) -> Response:
    return _come_back(reply_id, "chat")


@blueprint.get("/completions/<reply_id>")
def completion(reply_id: str) -> Response:
    return _come_back(reply_id, "text")


@blueprint.delete("/chat/completions/<reply_id>")
def end_chat_completion(reply_id: str) -> Response:
    return _end(reply_id, "chat")


@blueprint.delete("/completions/<reply_id>")
def end_completion(reply_id: str) -> Response:
    return _end(reply_id, "text")


def _read_body() -> dict[str, Any]:
    """Return the JSON object that was sent; a chunked body is only now seen to be too large."""
    body = read_body()
    if len(body) > current_service().config.max_body_bytes:
        raise RequestEntityTooLarge
    return read_object(body)


def _ask(asked: Asked, kind: str, document: dict[str, Any]) -> Response:
    """Ask the head for every choice: with a key that it knows, for the same reply again."""
    identity = identify(request.headers.get("Idempotency-Key"), kind, document)
    place = read_place(request.headers.get("Last-Event-ID"))
    about = About(
        kind=kind,
        name=identity.name,
        num_choices=len(asked.requests),
        choices_per_prompt=asked.choices_per_prompt,
        is_streamed=asked.is_streamed,
        includes_usage=asked.includes_usage,
        echoes=asked.echoes,
    )
    requests = [
        replace(
            identity.name_choice(each, index),
            received=place.received(index),
            about=about.pack() if index == 0 else {},
        )
        for index, each in enumerate(asked.requests)
    ]
    client, peer = current_service().client, connection()
    choices = Choices(lambda index: client.generate(requests[index], peer), about)
    note(id=PREFIXES[kind] + about.name, choices=about.num_choices)
    return _answer(choices, place, asked.is_streamed)


def _come_back(reply_id: str, kind: str) -> Response:
    """Have a reply by its id, from behind Last-Event-ID if that is sent."""
    name = read_id(reply_id, kind)
    place = read_place(request.headers.get("Last-Event-ID"))
    client, peer = current_service().client, connection()
    choices = Choices(
        lambda index: client.resume(f"{name}-{index}", place.received(index), peer), None
    )
    note(id=reply_id)
    wants_events = bool(place.positions) or "text/event-stream" in str(request.accept_mimetypes)
    return _answer(choices, place, wants_events or None)


def _end(reply_id: str, kind: str) -> Response:
    """Cancel a reply that runs, forget one that has ended."""
    name, client = read_id(reply_id, kind), current_service().client
    num_known = 0
    while num_known < MAX_CHOICES and client.cancel(f"{name}-{num_known}"):
        num_known += 1
    if not num_known:
        raise ReplyNotFound("no such reply runs or is kept")
    return jsonify({"id": reply_id, "object": f"{kind}.completion.deleted", "deleted": True})


def _answer(choices: Choices, place: Place, is_streamed: bool | None) -> Response:
    """Answer whole or as a stream; None: as it was asked for.

    A stream begins after COMMENT_S whether it is accepted or not, so that it is never silent.
    """
    service = current_service()
    with ExitStack() as stack:
        stack.callback(choices.close)
        stack.enter_context(service.admission.slot())
        is_accepted = choices.accept(COMMENT_S if is_streamed else math.inf)
        about = choices.about
        if not is_streamed and about is not None and not about.is_streamed:
            return _whole(choices)
        writer = EventWriter(choices, place, service.metrics.count_completion)
        if is_accepted and choices.first is not None:
            writer.begin(choices.first)
        headers = HEADERS if about is None else HEADERS | {"X-Request-Id": _id(about)}
        held = stack.pop_all()  # until the stream ends, or its reader is gone
    events = _held(writer.write(), held)
    return Response(events, mimetype="text/event-stream", headers=headers)


def _id(about: About) -> str:
    return PREFIXES[about.kind] + about.name


def _held(events: Iterator[bytes], held: ExitStack) -> Iterator[bytes]:
    """Start the stream at once, so that closing it always releases what it holds."""

    def stream() -> Iterator[bytes]:
        with held:
            yield b""
            yield from events

    started = stream()
    next(started)
    return started


def _whole(choices: Choices) -> Response:
    about, first = choices.about, choices.first
    assert about is not None and first is not None
    parts = [Part() for _ in range(about.num_choices)]
    count = current_service().metrics.count_completion
    tally = Tally(about.num_choices, about.choices_per_prompt, count)
    for index, event in choices:
        if isinstance(event, Delta):
            parts[index].add(event)
        elif isinstance(event, Done):
            parts[index].finish = str(event.finish)
            tally.add(index, event)
    if not tally.is_complete:  # the client has gone; nobody reads what we say
        return Response(status=499)
    note(**tally.usage())
    response = jsonify(open_reply(about, first).whole(parts, tally))
    response.headers["X-Request-Id"] = _id(about)
    return response


def _model() -> dict[str, Any]:
    found = current_service().document.read_model()
    return {
        "id": found["name"],
        "object": "model",
        "created": found.get("created", 0),
        "owned_by": "bramble",
        "max_model_len": found.get("max_length"),
    }


def _check_model(name: str | None) -> None:
    served = current_service().document.read_model()["name"]
    if name not in (None, "", served):
        raise ModelNotFound(f"model {name[:80]!r} is not served here; {served!r} is", "model")

"""OpenAI's API: models, chat completions and the older text completions."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, jsonify
from werkzeug.exceptions import RequestEntityTooLarge

from bramble.errors import ModelNotFound
from bramble.model.sampling import effective
from bramble.web.access import note
from bramble.web.body import read_object
from bramble.web.choices import Choices, open_choices
from bramble.web.connection import connection, read_body
from bramble.web.events import HEADERS, EventWriter
from bramble.web.parameters import Asked, read_chat, read_text
from bramble.web.reply import Part, Reply
from bramble.web.service import current_service
from bramble.web.shapes import ChatShape, Shape, TextShape
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
    asked = read_chat(_read_body(), _defaults())
    return _complete(asked, ChatShape())


@blueprint.post("/completions")
def completions() -> Response:
    asked = read_text(_read_body(), _defaults())
    return _complete(asked, TextShape(asked.echoes))


def _read_body() -> dict[str, Any]:
    """Return the JSON object that was sent; a chunked body is only now seen to be too large."""
    body = read_body()
    if len(body) > current_service().config.max_body_bytes:
        raise RequestEntityTooLarge
    return read_object(body)


def _complete(asked: Asked, shape: Shape) -> Response:
    """Have the head accept every choice, then answer whole or as a stream."""
    _check_model(asked.model)
    service = current_service()
    reply = Reply(
        id=shape.id_prefix + uuid.uuid4().hex,
        created=int(time.time()),
        model=service.document.read_model()["name"],
        fingerprint=service.document.read_plan_id()[:12] or None,
        shape=shape,
    )
    note(id=reply.id, choices=len(asked.requests))
    requests = [replace(each, request=uuid.uuid4().hex) for each in asked.requests]
    with ExitStack() as stack:
        stack.enter_context(service.admission.slot())
        choices = open_choices(service.client, requests, connection())
        stack.callback(choices.close)
        count = service.metrics.count_completion
        tally = Tally(choices.prompt_tokens, asked.choices_per_prompt, count)
        if not asked.is_streamed:
            return _whole(choices, reply, tally)
        writer = EventWriter(reply, tally, asked.includes_usage)
        held = stack.pop_all()  # until the stream ends, or its reader is gone
    events = _held(writer.write(choices), held)
    return Response(events, mimetype="text/event-stream", headers=HEADERS)


def _held(events: Iterator[bytes], held: ExitStack) -> Iterator[bytes]:
    """Start the stream at once, so that closing it always releases what it holds."""

    def stream() -> Iterator[bytes]:
        with held:
            yield b""
            yield from events

    started = stream()
    next(started)
    return started


def _whole(choices: Choices, reply: Reply, tally: Tally) -> Response:
    parts = [Part() for _ in choices.prompt_tokens]
    for index, event in choices:
        if isinstance(event, Delta):
            parts[index].add(event)
        elif isinstance(event, Done):
            parts[index].finish = str(event.finish)
            tally.add(index, event)
    if not tally.is_complete:  # the client has gone; nobody reads what we say
        return Response(status=499)
    note(**tally.usage())
    return jsonify(reply.whole(parts, tally))


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


def _defaults() -> Mapping[str, float]:
    """Return the model's own sampling settings; a model meant to be greedy gets temperature 0."""
    return effective(current_service().document.read_model().get("defaults") or {})

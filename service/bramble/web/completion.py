"""The one place where an HTTP request becomes generations, whatever protocol it came by."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from flask import Response, jsonify, request
from werkzeug.exceptions import RequestEntityTooLarge

from bramble.errors import ReplyNotFound
from bramble.web.about import About
from bramble.web.access import note
from bramble.web.body import read_object
from bramble.web.choices import Choices
from bramble.web.connection import connection, read_body
from bramble.web.dialect import MAX_CHOICES, Asked, Dialect
from bramble.web.dialects import named
from bramble.web.events import COMMENT_S, HEADERS, EventWriter
from bramble.web.identity import identify, read_id
from bramble.web.part import Part, open_parts
from bramble.web.place import Place, read_place
from bramble.web.service import current_service
from bramble.web.tally import Tally
from bramble.wire.messages import Delta, Done

IGNORED = "X-Bramble-Ignored"


def read_document() -> dict[str, Any]:
    """Return the JSON object that was sent; a chunked body is only now seen to be too large."""
    body = read_body()
    if len(body) > current_service().config.max_body_bytes:
        raise RequestEntityTooLarge
    return read_object(body)


def complete(dialect: Dialect, document: dict[str, Any]) -> Response:
    """Ask the head for every choice: with a key that it knows, for the same reply again."""
    asked = dialect.read(document)
    identity = identify(request.headers.get("Idempotency-Key"), dialect.name, document)
    place = read_place(request.headers.get("Last-Event-ID"))
    about = _describe(asked, dialect, identity.name)
    requests = [
        replace(
            identity.name_choice(each, index),
            received=place.received(index) if asked.is_streamed else 0,
            about=about.pack() if index == 0 else {},
        )
        for index, each in enumerate(asked.requests)
    ]
    client, peer = current_service().client, connection()
    choices = Choices(lambda index: client.generate(requests[index], peer), about)
    note(id=dialect.id_prefix + about.name, choices=about.num_choices)
    response = _answer(dialect, choices, place, asked.is_streamed)
    if asked.ignored:
        response.headers[IGNORED] = ", ".join(asked.ignored)
    return response


def come_back(dialect: Dialect, reply_id: str, is_streamed: bool | None = None) -> Response:
    """Have a reply by its id, from behind Last-Event-ID if that is sent.

    is_streamed  None: as it was asked for
    """
    name = read_id(reply_id, dialect.id_prefix)
    place = read_place(request.headers.get("Last-Event-ID"))
    client, peer = current_service().client, connection()
    choices = Choices(
        lambda index: client.resume(f"{name}-{index}", place.received(index), peer), None
    )
    note(id=reply_id)
    wants_events = bool(place.positions) or "text/event-stream" in str(request.accept_mimetypes)
    return _answer(dialect, choices, place, wants_events or is_streamed)


def end(dialect: Dialect, reply_id: str) -> None:
    """Cancel a reply that runs, forget one that has ended. Raises ReplyNotFound."""
    name, client = read_id(reply_id, dialect.id_prefix), current_service().client
    num_known = 0
    while num_known < MAX_CHOICES and client.cancel(f"{name}-{num_known}"):
        num_known += 1
    if not num_known:
        raise ReplyNotFound("no such reply runs or is kept")


def _describe(asked: Asked, dialect: Dialect, name: str) -> About:
    first, is_inline = asked.requests[0], asked.has_inline_thoughts
    if is_inline is None:
        is_inline = current_service().config.inline_thoughts
    return About(
        kind=dialect.name,
        name=name,
        num_choices=len(asked.requests),
        choices_per_prompt=asked.choices_per_prompt,
        is_streamed=asked.is_streamed,
        is_chat=first.messages is not None,
        has_tools=bool(first.tools) and first.tool_choice != "none",
        has_inline_thoughts=is_inline,
        shown=asked.shown,
    )


def _answer(dialect: Dialect, choices: Choices, place: Place, is_streamed: bool | None) -> Response:
    """Answer whole or as a stream; None: as it was asked for.

    A stream begins after COMMENT_S whether it is accepted or not, so that it is never silent.
    """
    service = current_service()
    with ExitStack() as stack:
        stack.callback(choices.close)
        stack.enter_context(service.admission.slot())
        is_accepted = choices.accept(COMMENT_S if is_streamed else math.inf)
        about = choices.about
        if about is not None and not (about.is_streamed if is_streamed is None else is_streamed):
            return _whole(choices)
        dialect = dialect if about is None else named(about.kind)
        writer = EventWriter(dialect, choices, place, service.metrics.count_completion)
        if is_accepted and choices.first is not None:
            writer.begin(choices.first)
        headers = HEADERS if about is None else HEADERS | {"X-Request-Id": _id(about)}
        held = stack.pop_all()  # until the stream ends, or its reader is gone
    events = _held(writer.write(), held)
    return Response(events, mimetype=dialect.media_type, headers=headers)


def _held(events: Iterator[bytes], held: ExitStack) -> Iterator[bytes]:
    """Start the stream at once, so that closing it always releases what it holds."""

    def stream() -> Iterator[bytes]:
        with held:
            yield b""
            yield from events

    started = stream()
    next(started)
    return started


def gather(choices: Choices, tally: Tally) -> list[Part]:
    """Return accepted choices once they are done, save where the asking peer has left."""
    about, first = choices.about, choices.first
    assert about is not None and first is not None
    parts = open_parts(about, first)
    for index, event in choices:
        if isinstance(event, Delta):
            parts[index].add(event)
        elif isinstance(event, Done):
            parts[index].end(event)
            tally.add(index, event)
    return parts


def _whole(choices: Choices) -> Response:
    about, first = choices.about, choices.first
    assert about is not None and first is not None
    count = current_service().metrics.count_completion
    tally = Tally(about.num_choices, about.choices_per_prompt, count)
    parts = gather(choices, tally)
    if not tally.is_complete:  # the client has gone; nobody reads what we say
        return Response(status=499)
    note(**tally.usage())
    response = jsonify(named(about.kind).writer(about, first).whole(parts, tally))
    response.headers["X-Request-Id"] = _id(about)
    return response


def _id(about: About) -> str:
    return named(about.kind).id_prefix + about.name

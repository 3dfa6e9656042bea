"""OpenAI's API of Responses."""

from __future__ import annotations

import math
from contextlib import closing
from typing import Any

from flask import Blueprint, Response, jsonify, request

from bramble.errors import BadInput, ReplyNotFound
from bramble.web import responses_references
from bramble.web.choices import Choices
from bramble.web.completion import come_back, complete, end, gather, read_document
from bramble.web.connection import connection
from bramble.web.counting import count_tokens
from bramble.web.dialects import RESPONSES
from bramble.web.responses_read import read_count
from bramble.web.service import current_service
from bramble.web.tally import Tally

blueprint = Blueprint("responses", __name__, url_prefix="/v1/responses")


@blueprint.post("")
def responses() -> Response:
    return complete(RESPONSES, _read())


@blueprint.post("/input_tokens")
def count() -> Response:
    num_tokens = count_tokens(read_count(_read()))
    return jsonify({"object": "response.input_tokens", "input_tokens": num_tokens})


@blueprint.get("/<reply_id>")
def response(reply_id: str) -> Response:
    """Have a reply again: whole, unless the query or a Last-Event-ID asks for a stream."""
    if "starting_after" in request.args:
        raise BadInput(
            "starting_after: not offered; send Last-Event-ID with the id of an event",
            "starting_after",
        )
    return come_back(RESPONSES, reply_id, request.args.get("stream") == "true")


@blueprint.delete("/<reply_id>")
def end_response(reply_id: str) -> Response:
    end(RESPONSES, reply_id)
    return jsonify({"id": reply_id, "object": "response", "deleted": True})


def _read() -> dict[str, Any]:
    return responses_references.put_in(read_document(), _output_of)


def _output_of(name: str) -> responses_references.Items:
    """Return the items of an earlier reply. Raises ReplyNotFound."""
    client, peer = current_service().client, connection()
    choices = Choices(lambda index: client.resume(f"{name}-{index}", 0, peer), None)
    with closing(choices):
        choices.accept(math.inf)
        about, accepted = choices.about, choices.first
        assert about is not None and accepted is not None
        if about.kind != RESPONSES.name:
            raise ReplyNotFound("it is a reply of another API")
        tally = Tally(about.num_choices, about.choices_per_prompt)
        parts = gather(choices, tally)
    if not tally.is_complete:  # the client has gone; nobody reads what we say
        raise ReplyNotFound("its client left")
    items: responses_references.Items
    items = RESPONSES.writer(about, accepted).whole(parts, tally)["output"]
    return items

"""Anthropic's API: messages, and how many tokens one has."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from bramble.web.anthropic_read import read_count
from bramble.web.completion import come_back, complete, end, read_document
from bramble.web.counting import count_tokens
from bramble.web.dialects import ANTHROPIC

blueprint = Blueprint("anthropic", __name__, url_prefix="/v1/messages")


@blueprint.post("")
def messages() -> Response:
    response = complete(ANTHROPIC, read_document())
    if (reply_id := response.headers.get("X-Request-Id")) is not None:
        response.headers["request-id"] = reply_id  # which Anthropic's clients show
    return response


@blueprint.post("/count_tokens")
def count() -> Response:
    return jsonify({"input_tokens": count_tokens(read_count(read_document()))})


@blueprint.get("/<reply_id>")
def message(reply_id: str) -> Response:
    return come_back(ANTHROPIC, reply_id)


@blueprint.delete("/<reply_id>")
def end_message(reply_id: str) -> Response:
    end(ANTHROPIC, reply_id)
    return jsonify({"id": reply_id, "type": "message_deleted"})

"""OpenAI's API: models, chat completions and the older text completions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, jsonify

from bramble.errors import ModelNotFound
from bramble.web.completion import come_back, complete, end, read_document
from bramble.web.dialects import CHAT, TEXT
from bramble.web.ollama_models import untagged
from bramble.web.service import current_service

blueprint = Blueprint("api", __name__, url_prefix="/v1")


@blueprint.get("/models")
def models() -> Response:
    found = _model()
    ends = {"first_id": found["id"], "last_id": found["id"], "has_more": False}
    return jsonify({"object": "list", "data": [found], **ends})


@blueprint.get("/models/<path:name>")
def model(name: str) -> Response:
    _check_model(name)
    return jsonify(_model())


@blueprint.post("/chat/completions")
def chat_completions() -> Response:
    return complete(CHAT, read_document())


@blueprint.post("/completions")
def completions() -> Response:
    return complete(TEXT, read_document())


@blueprint.get("/chat/completions/<reply_id>")
def chat_completion(reply_id: str) -> Response:
    return come_back(CHAT, reply_id)


@blueprint.get("/completions/<reply_id>")
def completion(reply_id: str) -> Response:
    return come_back(TEXT, reply_id)


@blueprint.delete("/chat/completions/<reply_id>")
def end_chat_completion(reply_id: str) -> Response:
    end(CHAT, reply_id)
    return jsonify({"id": reply_id, "object": "chat.completion.deleted", "deleted": True})


@blueprint.delete("/completions/<reply_id>")
def end_completion(reply_id: str) -> Response:
    end(TEXT, reply_id)
    return jsonify({"id": reply_id, "object": "text.completion.deleted", "deleted": True})


def _model() -> dict[str, Any]:
    """Return the served model, in OpenAI's members and in Anthropic's: both ask the same URL."""
    found = current_service().document.read_model()
    created = found.get("created", 0)
    return {
        "id": found["name"],
        "object": "model",
        "created": created,
        "owned_by": "bramble",
        "max_model_len": found.get("max_length"),
        "type": "model",
        "display_name": found["name"],
        "created_at": datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "max_input_tokens": found.get("max_length"),
    }


def _check_model(name: str) -> None:
    served = current_service().document.read_model()["name"]
    if untagged(name) not in ("", served):
        raise ModelNotFound(f"model {name[:80]!r} is not served here; {served!r} is", "model")

"""Ollama's API. The model is there, and stays: nothing is pulled, made, copied or deleted."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, jsonify

from bramble.errors import BadInput, ModelNotFound, Unavailable
from bramble.web import ollama_models as models
from bramble.web.completion import complete, read_document
from bramble.web.dialect import JSON_LINES, Dialect, Event
from bramble.web.dialects import OLLAMA_CHAT, OLLAMA_GENERATE
from bramble.web.fields import Fields
from bramble.web.framing import frame
from bramble.web.ollama import Members, in_message, in_response
from bramble.web.ollama_read import read_load, read_name, read_streams
from bramble.web.service import current_service
from bramble.web.thinking import EFFORTS

blueprint = Blueprint("ollama", __name__, url_prefix="/api")


@blueprint.post("/chat")
def chat() -> Response:
    return _answer(OLLAMA_CHAT, "messages", in_message)


@blueprint.post("/generate")
def generate() -> Response:
    return _answer(OLLAMA_GENERATE, "prompt", in_response)


@blueprint.get("/version")
def version() -> Response:
    return jsonify({"version": models.VERSION})


@blueprint.get("/tags")
def tags() -> Response:
    return jsonify({"models": [models.listed(_model())]})


@blueprint.get("/ps")
def running() -> Response:
    """List the model while a ring serves it."""
    document = current_service().document.read()
    is_serving = document["state"] == "serving"
    return jsonify({"models": [models.running(document["model"])] if is_serving else []})


@blueprint.post("/show")
def show() -> Response:
    _check_name(read_document())
    return jsonify(models.shown(_model()))


@blueprint.post("/pull")
def pull() -> Response:
    """Succeed at once for the model that is served."""
    document = read_document()
    _check_name(document)
    if not read_streams(Fields(document)):
        return jsonify({"status": "success"})
    said = ("pulling manifest", "success")
    lines = frame(OLLAMA_CHAT, [Event({"status": status}) for status in said])
    return Response(lines, mimetype=JSON_LINES)


@blueprint.post("/embed")
@blueprint.post("/embeddings")
def embed() -> Response:
    _check_name(read_document())
    raise BadInput("this model does not support embeddings; run a server that does beside it")


@blueprint.post("/create")
@blueprint.post("/copy")
@blueprint.post("/push")
@blueprint.delete("/delete")
@blueprint.post("/blobs/<digest>")
def change(digest: str = "") -> Response:
    """Refuse what would change the models."""
    raise BadInput(
        "models are not changed over this API; put another one into the inventory and run the "
        "playbook, or start `bramble run --model` with it"
    )


def _answer(dialect: Dialect, name: str, members: Members) -> Response:
    """Reply to what `name` holds; without it the request is for the model to be there."""
    document = read_document()
    _check_name(document)
    done_reason = read_load(document, name)
    if done_reason is None:
        _check_thinking(document)
        return complete(dialect, document)
    _check_serving()
    return jsonify(
        {
            "model": read_name(document),
            "created_at": models.moment(time.time_ns() // 1000),
            **members("", "", ()),
            "done": True,
            "done_reason": done_reason,
        }
    )


def _model() -> dict[str, Any]:
    return current_service().document.read_model()


def _check_name(document: dict[str, Any]) -> None:
    """Raise ModelNotFound for another model than the served one, in Ollama's words."""
    name, model = read_name(document), _known_model()
    if model and models.untagged(name) != model["name"]:
        served = models.tagged(model["name"])
        raise ModelNotFound(f"model '{name[:80]}' not found; '{served}' is served here", "model")


def _check_thinking(document: dict[str, Any]) -> None:
    """Refuse to ask for thoughts of a model that has none, as Ollama does."""
    think, model = document.get("think"), _known_model()
    is_wanted = think is True or (isinstance(think, str) and think in EFFORTS[1:])
    is_known = bool(model.get("capabilities"))  # heads of older releases do not say
    if is_wanted and is_known and "thinking" not in models.capabilities(model):
        name = read_name(document)
        raise BadInput(f"think: '{name[:80]}' does not support thinking; leave it out", "think")


def _known_model() -> dict[str, Any]:
    """Return what is known of the model; {} of a head that never answered: who asks it waits."""
    try:
        return _model()
    except Unavailable:
        return {}


def _check_serving() -> None:
    """Raise Unavailable unless a ring serves."""
    document = current_service().document.read()
    if document["state"] != "serving":
        raise Unavailable(f"no ring serves: {document['reason'] or document['state']}")

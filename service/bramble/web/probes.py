"""What machines ask: is the process up, does a ring serve, does this head lead, how is it doing."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, jsonify

from bramble.errors import Unavailable
from bramble.web.service import current_service

RETRY_AFTER_S = 5
UNKNOWN = 502  # the head does not answer: neither a yes nor a no
LEADER_FRESH_S = 0.3  # keepalived asks twice in the same moment, each second

blueprint = Blueprint("probes", __name__)


@blueprint.get("/healthz")
def healthz() -> Response:
    return jsonify({"status": "ok"})


@blueprint.get("/readyz")
def readyz() -> Response:
    """200 if a ring serves, with what keeps others from it; else 503 and which stage it is, why."""
    try:
        document = current_service().document.read()
    except Unavailable as error:
        return _not_ready("unreachable", str(error))
    if document["state"] != "serving":
        return _not_ready(document["state"], document["reason"])
    answer = {"status": "ready", "model": document["model"]["name"]}
    return jsonify(answer | ({"reason": document["reason"]} if document["reason"] else {}))


@blueprint.get("/health")
def health() -> Response:
    """What readyz says, as llama.cpp's server says it."""
    response = readyz()
    if response.status_code == 200:
        return jsonify({"status": "ok"})
    reason = response.get_json()["reason"]
    response.set_data(
        current_app.json.dumps(
            {"error": {"message": reason, "type": "unavailable_error", "code": 503}}
        )
    )
    return response


@blueprint.get("/props")
def props() -> Response:
    """What llama.cpp's clients look up before they ask. Raises Unavailable."""
    service = current_service()
    model = service.document.read_model()
    return jsonify(
        {
            "default_generation_settings": {"n_ctx": model.get("max_length")},
            "model_alias": model["name"],
            "model_path": model["name"],
            "modalities": {"vision": False, "audio": False},
            "build_info": f"bramble {service.document.read()['version']}",
        }
    )


@blueprint.get("/leader")
def leader() -> Response:
    """200 if the head here leads, whether or not a ring serves: a virtual address belongs to it."""
    return _leader(needs_quorum=False)


@blueprint.get("/leader/quorum")
def quorum() -> Response:
    """200 if a quorum of stages obeys the head here: of two that say that they lead, this one."""
    return _leader(needs_quorum=True)


def _leader(*, needs_quorum: bool) -> Response:
    try:
        document = current_service().document.read(LEADER_FRESH_S)
    except Unavailable as error:
        return _not_ready("unreachable", str(error), UNKNOWN)
    if not document["term"]:
        return _not_ready(document["state"], document["reason"])
    if needs_quorum and not document["has_quorum"]:
        return _not_ready(document["state"], "too few stages obey this head")
    return jsonify({"status": "leads", "term": document["term"]})


@blueprint.get("/api/status")
def status() -> Response:
    return jsonify(current_service().document.read())


@blueprint.get("/metrics")
def metrics() -> Response:
    return Response(current_service().metrics.render(), mimetype="text/plain; version=0.0.4")


def _not_ready(state: str, reason: str, status: int = 503) -> Response:
    response = jsonify({"status": "not ready", "state": state, "reason": reason})
    response.status_code = status
    response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response

"""A Flask app with the real pages and a scripted API; the last user message picks the script."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from bramble.web.pages import blueprint
from flask import Flask, Response, jsonify, request

NASTY = (
    "<script>window.hit=1</script> <img src=x onerror='window.hit=1'> "
    "[link](javascript:window.hit=1) ![pic](http://elsewhere.invalid/x.png)"
)
RICH = (
    "# Title\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```python\ndef f():\n    return 1\n```\n\nBye."
)


def create_app(num_stages: int = 3, failed: int | None = None) -> Flask:
    app = Flask("stand_in", static_folder=None)
    app.register_blueprint(blueprint)
    app.config["BODIES"] = []

    @app.get("/api/status")
    def status() -> Response:
        return jsonify(_status(num_stages, failed))

    @app.post("/v1/chat/completions")
    def complete() -> Response:
        body = request.get_json()
        app.config["BODIES"].append(body)
        word = body["messages"][-1]["content"]
        if word in ("429", "503", "400"):
            error = {"message": f"refused {word}", "type": "t", "param": None, "code": None}
            response = jsonify({"error": error})
            response.status_code = int(word)
            response.headers["Retry-After"] = "7"
            return response
        return Response(_events(word), mimetype="text/event-stream")

    return app


def _events(word: str) -> Iterator[str]:
    if word == "progress":
        document = {"queue_position": 0, "prefilled_tokens": 512, "prompt_tokens": 1900}
        yield f": progress {json.dumps(document)}\n\n"
        time.sleep(1)
    text = {"nasty": NASTY, "rich": RICH}.get(word, f"reply to {word} ")
    for piece in [text] if word != "slow" else [f"w{i} " for i in range(100)]:
        yield _data({"choices": [{"delta": {"content": piece}}]})
        time.sleep(0.05)
    if word == "drop":
        return
    figures = {"first_token_s": 0.41, "total_s": 1.41, "completion_tokens": 87}
    yield _data({"choices": [{"delta": {}, "finish_reason": "stop"}], "bramble": figures})
    yield _data({"choices": [], "usage": {"completion_tokens": 87}})
    yield "data: [DONE]\n\n"


def _data(document: dict[str, Any]) -> str:
    return f"data: {json.dumps(document)}\n\n"


def _status(num_stages: int, failed: int | None) -> dict[str, Any]:
    stages = [_stage(i, num_stages, i == failed) for i in range(num_stages)]
    return {
        "state": "serving" if failed is None else "failed",
        "reason": "",
        "model": {"name": "bramble-demo", "is_demo": True, "defaults": {"temperature": 0.7}},
        "plan": {"rings": [{"stages": stages}]},
        "speed": {"decode_tokens_s": 12.3},
        "requests": {"running": 1, "queued": 2, "completed": 3},
    }


def _stage(index: int, num_stages: int, is_failed: bool) -> dict[str, Any]:
    return {
        "node": f"pi-{index}",
        "start": 2 * index,
        "stop": 2 * index + 2,
        "has_embed": index == 0,
        "has_lm_head": index == num_stages - 1,
        "state": "failed" if is_failed else "ready",
        "reason": "checksum differs" if is_failed else "",
        "busy": 0.6,
        "tokens_s": 12.3,
        "temperature_c": 61.0,
        "throttled": False,
    }

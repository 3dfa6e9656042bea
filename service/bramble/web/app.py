"""The web application: `create_app` is its whole wiring."""

from __future__ import annotations

from flask import Flask

from bramble.config import WebConfig
from bramble.head.client import Client
from bramble.web import (
    access,
    anthropic_api,
    api,
    authority,
    errors,
    files,
    ollama_api,
    pages,
    paths,
    probes,
    responses_api,
)
from bramble.web.service import EXTENSION, make_service


def create_app(config: WebConfig, client: Client) -> Flask:
    """Wire one application; `client` is safe to use from all of the server's threads."""
    app = Flask("bramble.web", static_folder=None)
    # One more than allowed: a chunked body is silently cut here, and the API counts it
    app.config["MAX_CONTENT_LENGTH"] = config.max_body_bytes + 1
    app.json.sort_keys = False  # type: ignore[attr-defined]  # Flask's default provider has it
    app.extensions[EXTENSION] = make_service(config, client)
    access.register(app)
    authority.register(app, authority.Authority(config.names, config.listen))
    errors.register(app)
    app.register_blueprint(pages.blueprint)
    app.register_blueprint(api.blueprint)
    app.register_blueprint(ollama_api.blueprint)
    app.register_blueprint(responses_api.blueprint)
    app.register_blueprint(anthropic_api.blueprint)
    app.register_blueprint(probes.blueprint)
    app.register_blueprint(files.blueprint)
    paths.register(app)
    return app

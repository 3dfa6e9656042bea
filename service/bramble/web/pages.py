"""The chat page, the status page and their static files; nothing on them comes from elsewhere.

The pages know the service only by its HTTP API.
"""

from __future__ import annotations

from flask import Blueprint, Response, render_template

POLICY = "; ".join(
    (
        "default-src 'self'",
        "img-src 'self' data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    )
)

blueprint = Blueprint(
    "pages",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/static",
)


@blueprint.get("/")
def chat() -> str:
    return render_template("chat.html")


@blueprint.get("/status")
def status() -> str:
    return render_template("status.html")


@blueprint.after_request
def _protect(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    response.headers["Cache-Control"] = "no-cache"  # an upgrade shows at once; ETags keep it cheap
    return response

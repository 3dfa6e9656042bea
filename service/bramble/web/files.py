"""Files of the models in `models`, by sha256: what stages fetch of what they lack.

A name that is its contents' sha256 never changes its meaning, so it may be kept for ever.
"""

from __future__ import annotations

from flask import Blueprint, Response, abort, request

from bramble.errors import BadInput
from bramble.model.store import SHA256
from bramble.web.service import current_service
from bramble.web.transfers import Transfer

blueprint = Blueprint("files", __name__)


@blueprint.get("/files/<sha256>")
def file(sha256: str) -> Response:
    """Answer with a file or, to Range, with a part of it; 503 while too many are on their way."""
    service = current_service()
    if not SHA256.fullmatch(sha256):
        raise BadInput(f"{sha256[:80]!r} is no sha256; a file here is named by 64 of 0-9 a-f")
    path = service.catalogue.find(sha256) if service.catalogue else None
    if path is None:
        abort(404, f"no model here has a file with sha256 {sha256}")
    transfer = service.transfers.open(path, request.remote_addr or "")
    try:
        return _response(sha256, transfer)
    except BaseException:
        transfer.close()
        raise


def _response(sha256: str, transfer: Transfer) -> Response:
    response = Response(transfer, mimetype="application/octet-stream")
    response.content_length = transfer.size
    response.set_etag(sha256)
    response.cache_control.public = True
    response.cache_control.max_age = 365 * 24 * 3600
    response.cache_control.immutable = True
    response.make_conditional(request, accept_ranges=True, complete_length=transfer.size)
    return response

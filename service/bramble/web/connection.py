"""The HTTP connection below a request and the body that comes by it, as gunicorn hands them out."""

from __future__ import annotations

import socket

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import ClientDisconnected, RequestTimeout

from bramble.errors import BadInput


def connection() -> socket.socket | None:
    """Return the current request's connection, whose end cancels what it asked for."""
    found = request.environ.get("gunicorn.socket")
    return found if isinstance(found, socket.socket) else None


def read_body() -> bytes:
    """Return the current request's body. Raises BadInput, or RequestTimeout where it stays out."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding != "identity":
        raise BadInput(f"Content-Encoding: {encoding[:40]} is not read here; send the body plain")
    try:
        return request.get_data()
    except ClientDisconnected as error:
        raise RequestTimeout("the body did not arrive; send it whole") from error
    except ParseException as error:
        raise BadInput(f"the body's chunks cannot be read: {error}") from error

"""The HTTP connection below a request; only gunicorn hands it out."""

from __future__ import annotations

import socket
import struct

from flask import request


def connection() -> socket.socket | None:
    """Return the current request's connection, whose end cancels what it asked for."""
    found = request.environ.get("gunicorn.socket")
    return found if isinstance(found, socket.socket) else None


def limit_silence(seconds: int) -> None:
    """Make a client that neither reads nor sends for so long an OSError, not a thread that hangs.

    The kernel keeps the time, so that the socket stays a blocking one for gunicorn.
    """
    found = connection()
    if found is not None:
        duration = struct.pack("ll", seconds, 0)  # a timeval
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, duration)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, duration)

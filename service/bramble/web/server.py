"""gunicorn around the application: one worker process with a thread per open request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from bramble.config import WebConfig
from bramble.head.client import Client
from bramble.head.zmq_client import ZmqClient
from bramble.observe import log
from bramble.web.app import create_app
from bramble.wire.transport import Transport

GRACE_S = 3  # for open streams at the end; their readers can ask again


def serve(config: WebConfig, make_client: Callable[[], Client] | None = None) -> None:
    """Run until a signal ends it; `make_client` is called once, in the worker."""
    log.configure()
    Server(config, make_client or (lambda: ZmqClient(Transport(), config.head))).run()


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, config: WebConfig, make_client: Callable[[], Client]) -> None:
        self._config = config
        self._make_client = make_client
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": self._config.listen,
            "worker_class": "gthread",
            "workers": 1,
            "threads": self._config.threads,
            "graceful_timeout": GRACE_S,
            "keepalive": 15,  # seconds; status pages ask every second or two
            "timeout": 60,  # of a worker whose loop hangs, not of a request
            "limit_request_line": 4094,
            "loglevel": "warning",
            "proc_name": "bramble-web",
            "control_socket_disable": True,  # nothing listens that need not
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Called in the worker: a ZeroMQ context must not be shared across the fork."""
        return create_app(self._config, self._make_client())

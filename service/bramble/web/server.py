"""gunicorn around the application: one worker process with a thread per open request."""

from __future__ import annotations

import logging
import time
import urllib.request
from collections.abc import Callable
from threading import Thread
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.workers.base import Worker

from bramble.config import WebConfig
from bramble.errors import BadInput
from bramble.head.client import Client
from bramble.head.zmq_client import ZmqClient
from bramble.observe import log
from bramble.observe.notify import Notifier
from bramble.web.app import create_app
from bramble.web.connection import limit_silence
from bramble.wire.transport import Transport

logger = logging.getLogger(__name__)

FEED_S = 10.0
GRACE_S = 60  # for replies under way at the end, as the head has it; new requests wait at the port


def serve(
    config: WebConfig,
    make_client: Callable[[], Client] | None = None,
    notifier: Notifier | None = None,
) -> None:
    """Run until a signal ends it; `make_client` is called once, in the worker.

    Raises BadInput for an address that is none.
    """
    host, _, port = config.listen.rpartition(":")
    if not (host and port.isdecimal() and 1 <= int(port) <= 65535):
        raise BadInput(f"listen is {config.listen!r}, it has to be ADDRESS:PORT, as 0.0.0.0:8080")
    log.configure()
    make = make_client or (lambda: ZmqClient(Transport(), config.head))
    Server(config, make, notifier or Notifier(None)).run()


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(
        self, config: WebConfig, make_client: Callable[[], Client], notifier: Notifier
    ) -> None:
        self._config = config
        self._notifier = notifier
        self._make_client = make_client
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": self._config.listen,  # unless systemd passes the port (bramble-web.socket)
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
            "post_worker_init": self._limit_silence,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def _limit_silence(self, worker: Worker) -> None:
        for listener in worker.sockets:
            limit_silence(listener, self._config.client_timeout_s)
        worker.log.error_log.addFilter(_is_no_silence)

    def load(self) -> Flask:
        """Called in the worker: a ZeroMQ context must not be shared across the fork."""
        app = create_app(self._config, self._make_client())
        feeder = Thread(target=self._feed, name="watchdog", daemon=True)
        feeder.start()
        return app

    def _feed(self) -> None:
        """Feed systemd's watchdog for as long as we answer over HTTP, as our clients ask."""
        host, _, port = self._config.listen.rpartition(":")
        address = "127.0.0.1" if host in ("", "0.0.0.0", "[::]") else host
        url = f"http://{address}:{port}/healthz"
        self._notifier.status(f"listening on {self._config.listen}")
        while True:
            time.sleep(FEED_S)
            try:
                with urllib.request.urlopen(url, timeout=FEED_S):
                    self._notifier.alive()
            except OSError as error:
                logger.warning("event=unhealthy url=%s reason=%r", url, str(error))


def _is_no_silence(record: logging.LogRecord) -> bool:
    """False for gunicorn's traceback of a client that fell silent within a header."""
    return not (record.exc_info and isinstance(record.exc_info[1], BlockingIOError))

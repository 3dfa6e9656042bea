"""gunicorn around the application: one worker process with a thread per open request."""

from __future__ import annotations

import ctypes
import logging
import resource
import signal
import time
import urllib.request
from collections.abc import Callable
from threading import Thread
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from bramble.config import WebConfig
from bramble.errors import BadInput
from bramble.head.client import Client
from bramble.head.zmq_client import ZmqClient
from bramble.observe import log
from bramble.observe.notify import Notifier
from bramble.web.app import create_app
from bramble.web.arrival import Patience
from bramble.web.authority import Authority
from bramble.web.reception import Limits
from bramble.web.worker import Worker
from bramble.wire.transport import Transport

logger = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1  # linux/prctl.h
FEED_S = 10.0
IDLE_S = 15.0  # of a connection between requests; status pages ask every second or two
MAX_CONNECTIONS = 4096
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
    Authority(config.names, config.listen)  # refuses a name that is none
    if config.connections_per_address < 1 or config.header_timeout_s < 1:
        raise BadInput(
            f"connections_per_address is {config.connections_per_address} and header_timeout_s "
            f"{config.header_timeout_s}: both have to be 1 or more"
        )
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
            "bind": _bind(self._config),
            "worker_class": Worker,
            "workers": 1,
            "worker_connections": _connections(),
            "threads": self._config.threads,
            "graceful_timeout": GRACE_S,
            "keepalive": int(IDLE_S),
            "sendfile": False,  # it knows no client that does not read (peer.py)
            "timeout": 60,  # of a worker whose loop hangs, not of a request
            "limit_request_line": 4094,
            "loglevel": "warning",
            "proc_name": "bramble-web",
            "control_socket_disable": True,  # nothing listens that need not
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    @property
    def limits(self) -> Limits:
        """What the worker asks for."""
        config = self._config
        patience = Patience(
            IDLE_S, config.header_timeout_s, config.client_timeout_s, config.max_body_bytes
        )
        return Limits(patience, config.connections_per_address)

    def load(self) -> Flask:
        """Called in the worker: a ZeroMQ context must not be shared across the fork.

        The worker ends with its master: alone it would still take connections, and be killed amid
        them.
        """
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        app = create_app(self._config, self._make_client())
        feeder = Thread(target=self._feed, name="watchdog", daemon=True)
        feeder.start()
        return app

    def _feed(self) -> None:
        """Feed systemd's watchdog for as long as we answer over HTTP, as our clients ask."""
        host, _, port = self._config.listen.rpartition(":")
        address = "127.0.0.1" if host in ("", "0.0.0.0", "[::]") else host
        url = f"http://{address}:{port}/healthz"
        while True:
            self._notifier.status(f"listening on {self._config.listen}")
            time.sleep(FEED_S)
            try:
                with urllib.request.urlopen(url, timeout=FEED_S):
                    self._notifier.alive()
            except OSError as error:
                logger.warning("event=unhealthy url=%s reason=%r", url, str(error))


def _bind(config: WebConfig) -> str:
    """Return where gunicorn listens, unless systemd passes the port (bramble-web.socket)."""
    return config.listen if config.socket < 0 else f"fd://{config.socket}"


def _connections() -> int:
    """How many connections there may be: half of the file descriptors that we can have.

    The others are the head's, whom each reply under way is asked for over some of its own.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = (
        2 * MAX_CONNECTIONS if hard == resource.RLIM_INFINITY else min(hard, 2 * MAX_CONNECTIONS)
    )
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
        except (OSError, ValueError) as error:  # systemd's filter forbids it
            logger.warning("event=few_descriptors have=%d want=%d reason=%s", soft, wanted, error)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else min(soft // 2, MAX_CONNECTIONS)

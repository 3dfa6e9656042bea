"""gunicorn's threaded worker, whose event loop reads requests: a thread gets them whole.

What probes ask is answered by threads of its own, which nothing else can hold.
"""

from __future__ import annotations

import errno
import time
from concurrent.futures import Future
from typing import Any

from gunicorn.http.errors import (
    ExpectationFailed,
    InvalidResponseHeader,
    InvalidResponseHeaderName,
    LimitRequestHeaders,
    LimitRequestLine,
    ParseException,
    UnsupportedTransferCoding,
)
from gunicorn.workers.gthread import ThreadWorker

from bramble.web.arrival import Arrival
from bramble.web.guest import Guest
from bramble.web.peer import Peer
from bramble.web.reception import Limits, Reception, say
from bramble.web.refusals import answer, refusal
from bramble.web.threads import Threads

ACCEPTS_PER_TURN = 64  # connections; then the others have their turn
LACK_S = 0.05  # of descriptors or memory: somebody gives some back meanwhile
OUT_OF_MEANS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
PROBE_THREADS = 2  # of each kind
# A path and whose threads answer it. /healthz asks nobody; the others ask the head, which may hang.
OF_THE_HEAD = (b"/readyz", b"/leader", b"/leader/quorum", b"/metrics")
PROBES = {b"/healthz": "healthz", **dict.fromkeys(OF_THE_HEAD, "readyz")}
STATUSES: dict[type[ParseException], int] = {
    LimitRequestLine: 414,
    LimitRequestHeaders: 431,
    ExpectationFailed: 417,
    UnsupportedTransferCoding: 501,
}


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    def run(self) -> None:
        self._limits: Limits = self.app.limits
        self._reception = Reception(self.poller, self._limits, self.enqueue_req, self._forget)
        self._probe_pools = {name: Threads(PROBE_THREADS, name) for name in set(PROBES.values())}
        super().run()

    def get_thread_pool(self) -> Threads:
        return Threads(self.cfg.threads, "request")

    def accept(self, listener: Any) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                accepted, client = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in OUT_OF_MEANS:
                    raise
                if not self._reception.make_room():
                    time.sleep(LACK_S)
                return
            self.nr_conns += 1
            peer = Peer(accepted, self._limits.patience.body_s)
            arrival = Arrival(self._limits.patience, time.monotonic())
            self._reception.receive(Guest(self.cfg, peer, client, listener.getsockname(), arrival))
            if self.nr_conns >= self.worker_connections and not self._reception.make_room():
                return

    def enqueue_req(self, guest: Guest) -> None:
        requests: Threads = self.tpool
        pool = self._probe_pools.get(PROBES.get(guest.path, ""), requests)
        future = pool.submit(self.handle, guest)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, guest, done)
        )

    def handle_request(self, request: Any, guest: Guest) -> Any:
        request._expected_100_continue = False  # its body is here
        return super().handle_request(request, guest)

    def handle_error(self, request: Any, client: Peer, address: Any, error: Exception) -> None:
        """Answer what gunicorn's parser refused as the API answers."""
        ours = (InvalidResponseHeader, InvalidResponseHeaderName)
        if isinstance(error, ParseException) and not isinstance(error, ours):
            problem = refusal(STATUSES.get(type(error), 400), f"bad request: {error}")
            say(client, answer(problem, b""))
        else:
            super().handle_error(request, client, address, error)

    def _keepalive_after(self, guest: Guest, keepalive: Any) -> bool:
        if guest.is_last or not super()._keepalive_after(guest, keepalive):
            return False
        return not guest.parser.unreader.buf.getvalue()  # it ends where the parser says, too

    def finish_request(self, guest: Guest, done: Future[Any]) -> None:
        is_well = not done.cancelled() and done.exception() is None
        self._reception.take_back(guest, may_ask_again=is_well and bool(done.result()))

    def murder_keepalived(self, force: bool = False) -> None:
        """gunicorn asks in every turn of its loop, and with `force` when the loop is over."""
        self._reception.look()
        if force:
            self._reception.close_all()

    def murder_pending(self) -> None:
        """Nobody waits in gunicorn's own list."""

    def _cap_keepalive(self, deadline: float) -> None:
        self._reception.idle_until = deadline

    def _forget(self) -> None:
        self.nr_conns -= 1

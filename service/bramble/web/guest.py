"""One connection between gunicorn's event loop and its threads, and what came by it."""

from __future__ import annotations

import math
from typing import Any

from gunicorn.http.parser import RequestParser
from gunicorn.workers.gthread import TConn

from bramble.web.arrival import Arrival
from bramble.web.peer import Peer


class Guest(TConn):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, cfg: Any, sock: Peer, client: Any, server: Any, arrival: Arrival) -> None:
        super().__init__(cfg, sock, client, server)
        self.initialized = self.data_ready = True  # its request is here before a thread has it
        self.address = str(client[0])
        self.arrival = arrival
        self.until = math.inf  # when its time is up, where it is not a request that it waits for
        self.is_lingering = self.is_gone = False
        self.is_last = False  # nothing that comes behind the request can be made out
        self.path = b""  # of the request that is being answered
        self.num_bytes = 0  # of the same

    @property
    def deadline(self) -> float:
        return self.until if self.until < math.inf else self.arrival.deadline

    def begin(self, now: float) -> None:
        """Turn the complete request that arrived into one that is read from memory."""
        self.until = math.inf
        self.is_last, self.path = self.arrival.is_last, self.arrival.path
        request = self.arrival.take(now)
        self.num_bytes = len(request)
        self.parser = RequestParser(self.cfg, [request], self.client)

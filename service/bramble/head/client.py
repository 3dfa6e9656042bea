"""What the web and the CLI see of the head: one protocol, and no socket in it."""

from __future__ import annotations

import socket
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Protocol

from bramble.wire.messages import Accepted, Delta, Done, Generate, Progress


@dataclass(frozen=True, slots=True)
class Pulse:
    """No head says anything at the moment; the request waits for one."""

    silent_s: float


Event = Accepted | Pulse | Progress | Delta | Done
Events = Generator[Event, None, None]


class Client(Protocol):
    """The head's door. Safe to call from many threads at once."""

    def generate(self, request: Generate, watch: socket.socket | None = None) -> Events:
        """Run one request: Accepted, then Progress and Delta, then Done; Pulse at any time.

        watch    the asking connection: once its peer has closed it, the request is left and the
                 generator ends without Done
        returns  a generator that yields at least once a second; closing it leaves the request,
                 which ends where nobody else reads it and its client has no key to come back
                 with. One thread may take the first event and another the rest.

        Raises BadInput, QueueFull or Unavailable before the first event; Unavailable or Broken
        after it.
        """
        ...

    def resume(self, name: str, received: int = 0, watch: socket.socket | None = None) -> Events:
        """Read a request that another has asked for, as `generate`: from its beginning.

        received  tokens behind which a Delta is to end

        Accepted then has `asked`. Raises ReplyNotFound too.
        """
        ...

    def cancel(self, name: str) -> bool:
        """End a request for all who read it and forget it. False if the head knows none.

        Raises Unavailable if the head does not answer within two seconds.
        """
        ...

    def status(self) -> dict[str, Any]:
        """Return the head's status document.

        Raises Unavailable if the head does not answer within two seconds.
        """
        ...

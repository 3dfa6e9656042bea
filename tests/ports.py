"""Ports of this machine for the processes that a test starts."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

LOOPBACK = "127.0.0.1"
FIRST, LAST = 10000, 65535
GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")  # to whoever asks for any port


def free_ports(count: int) -> list[int]:
    """Find ports that nobody uses, for processes that listen there later, and again if restarted.

    Meanwhile the system gives them to nobody: they lie outside of its range, if that leaves any.
    """
    low, high = map(int, GIVEN_OUT.read_text().split())
    candidates = [*range(FIRST, low), *range(high + 1, LAST)] or [*range(FIRST, LAST)]
    found: list[int] = []
    with ExitStack() as stack:
        for port in random.sample(candidates, len(candidates)):
            if len(found) == count:
                break
            with suppress(OSError):  # somebody listens there
                stack.enter_context(socket.create_server((LOOPBACK, port)))
                found.append(port)
    assert len(found) == count, f"{len(found)} of {count} ports are free"
    return found

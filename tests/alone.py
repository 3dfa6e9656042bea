"""`pytest -p tests.alone`: a test that reaches for another machine fails, as `make check` wants it.

What a test starts as another process is not watched.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

EVENTS = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0}  # where the host is
NAMES = (None, "", "localhost", "255.255.255.255")  # the kernel sends no broadcast unasked


def _refuse_others(event: str, arguments: tuple[Any, ...]) -> None:
    if event not in EVENTS:
        return
    host = arguments[EVENTS[event]]
    if isinstance(host, tuple):
        host = host[0]
    if isinstance(host, bytes):
        host = host.decode()
    if host in NAMES or _is_here(host):
        return
    raise AssertionError(f"a test of `make check` reached for {host}: need a machine of its own")


def _is_here(host: str) -> bool:
    """Tell a loopback address, or the name of a socket of this machine, from anything else."""
    if host.startswith(("/", "\0")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


sys.addaudithook(_refuse_others)

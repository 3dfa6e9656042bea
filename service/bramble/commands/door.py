"""How a command on this machine reaches the head."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from bramble.commands.places import default_door
from bramble.head.zmq_client import ZmqClient
from bramble.wire.transport import Transport


def add_door(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=int, default=8080, help="of the local ring (default: 8080)")
    parser.add_argument("--head", help="the head's endpoint, e.g. ipc:///run/bramble/head.sock")


@contextmanager
def open_door(args: argparse.Namespace) -> Iterator[ZmqClient]:
    """Yield a client of this node's head, or of the local ring."""
    with Transport() as transport:
        yield ZmqClient(transport, args.head or default_door(args.port))

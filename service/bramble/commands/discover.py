"""`bramble discover`: the nodes that announce themselves on this LAN, fresh cards included."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from bramble.errors import BadInput

if TYPE_CHECKING:
    from bramble.commands.lan import Neighbours, Node

EXAMPLE = """examples:
  bramble discover                who is there; exit code 1 if nobody answers
  bramble discover --seconds 10   for Pis that just got power
  bramble discover --json         for programs
"""
MAX_SECONDS = 300
SILENCE = """nothing announced itself as _bramble._tcp within {seconds:g} s on {addresses}; look at
  the Pi      a card's first start takes a minute or two: try --seconds 30; is its green light on?
  the subnet  nodes are heard only by machines of their own LAN, not through a router or a VPN
  the Wi-Fi   access points with client isolation, and some switches with IGMP snooping, drop
              multicast: try with this machine on the nodes' switch by cable
  firewalls   this machine's has to let UDP port 5353 in
  the node    `ping NAME.local`; or on it: systemctl status avahi-daemon"""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "discover",
        help="list the nodes that announce themselves on this LAN",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print what was heard as JSON")
    parser.add_argument(
        "--seconds", type=float, default=3.0, metavar="S", help="how long to listen (default: 3)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Return 0 if a node answered, 1 if none did."""
    if not 0 < args.seconds <= MAX_SECONDS:
        raise BadInput(f"--seconds: got {args.seconds:g}, need more than 0 and up to {MAX_SECONDS}")
    from bramble.commands.lan import browse  # zeroconf costs other commands nothing

    heard = browse(args.seconds)
    if args.json:
        print(json.dumps(dataclasses.asdict(heard), indent=1))
    elif heard.nodes:
        Console().print(show(heard.nodes))
    for sentence in remarks(heard, args.seconds):
        print(sentence, file=sys.stderr)
    return 0 if heard.nodes else 1


def show(nodes: tuple[Node, ...]) -> Group:
    """Lay the nodes out as a table; what they say of themselves is text, never markup."""
    table = Table("node", "role", "address", "version", "board")
    for node in nodes:
        cells = (node.name, node.role, node.address, node.version, node.model)
        table.add_row(*(Text(cell or "–") for cell in cells))
    heads = (node for node in nodes if node.role == "head")
    return Group(table, *(Text(f"chat page: http://{one.address}:{one.port}") for one in heads))


def remarks(heard: Neighbours, seconds: float) -> list[str]:
    """Return what a person should look at, one sentence each."""
    found = list(heard.refused)
    for name, times in Counter(node.name for node in heard.nodes).items():
        if times > 1:
            at = ", ".join(node.address for node in heard.nodes if node.name == name)
            found.append(f"{times} nodes call themselves {name} ({at}): give each its own name")
    if not heard.nodes:
        found.append(SILENCE.format(seconds=seconds, addresses=", ".join(heard.listened_on)))
    return found

"""What announces itself on the LAN by mDNS: the only importer of zeroconf and ifaddr.

Anybody on the LAN can announce anything; what is not a plain name, role, address or text is
refused here, so that it reaches neither a terminal nor Ansible. An announcement proves nothing:
the ssh host key does.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

import ifaddr
from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from bramble.errors import Unavailable

SERVICE = "_bramble._tcp.local."
ROLES = ("head", "stage", "blank")
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # a hostname's label, RFC 1123
TEXT = re.compile(r"[\w .,:;()/+-]{0,100}", re.ASCII)  # a version or a board: nothing to execute
# One question and its answer on a LAN take milliseconds; mDNS delays shared answers by 120 ms.
RESOLVE_MS = 500


@dataclass(frozen=True, slots=True)
class Node:
    """A node as it announces itself."""

    name: str
    role: str  # one of ROLES
    address: str  # IPv4
    port: int  # the head's HTTP, elsewhere ssh
    version: str  # of Bramble; empty on a blank node
    model: str  # of the board; empty if it does not say


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What was heard, and from where we listened."""

    nodes: tuple[Node, ...]  # by name, then address
    refused: tuple[str, ...]  # one sentence per announcement that cannot be used
    listened_on: tuple[str, ...]  # this machine's addresses, loopback aside


def browse(seconds: float) -> Neighbours:
    """Listen for `seconds`. Raises Unavailable where this machine has no network to listen on."""
    listened_on = _own_addresses()
    if not listened_on:
        raise Unavailable(
            "this machine has no IPv4 address beside loopback: connect it to the nodes' LAN"
        )
    try:
        with Zeroconf(interfaces=list(listened_on), ip_version=IPVersion.V4Only) as lan:
            infos = _collect(lan, seconds)
    except OSError as error:
        raise Unavailable(
            f"cannot listen for multicast on {', '.join(listened_on)}: {error}; "
            "end what else holds UDP port 5353, or look at this machine's network"
        ) from error
    nodes, refused = [], []
    for info in infos:
        told = read(info.get_name(), info.properties, _addresses(info), info.port)
        if isinstance(told, Node):
            nodes.append(told)
        else:
            refused.append(told)
    nodes.sort(key=lambda node: (node.name, ipaddress.IPv4Address(node.address)))
    return Neighbours(tuple(nodes), tuple(sorted(refused)), listened_on)


def read(
    instance: str, properties: Mapping[bytes, bytes | None], addresses: list[str], port: int | None
) -> Node | str:
    """Return the node that an announcement tells of, or a sentence on why it cannot be used."""
    told = {
        key.decode(errors="replace"): (value or b"").decode(errors="replace")
        for key, value in properties.items()
    }
    name, role = told.get("name", ""), told.get("role", "")
    if not NAME.fullmatch(name):
        return f"{instance!a} announces the name {name!a}, which is no hostname: it is left out"
    if role not in ROLES:
        return f"{name} announces the role {role!a}, known are {', '.join(ROLES)}: it is left out"
    if not addresses or not port:
        return f"{name} announces no IPv4 address or no port: is its avahi-daemon still starting?"
    texts = {key: told.get(key, "") for key in ("version", "model")}
    for key, text in texts.items():
        if not TEXT.fullmatch(text):
            return f"{name} announces the {key} {text!a}, which is no plain text: it is left out"
    return Node(name, role, addresses[0], port, **texts)


def _collect(lan: Zeroconf, seconds: float) -> list[ServiceInfo]:
    there: dict[str, None] = {}

    def note(
        zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
    ) -> None:
        if state_change is ServiceStateChange.Removed:
            there.pop(name, None)
        else:
            there[name] = None

    browser = ServiceBrowser(lan, SERVICE, handlers=[note])
    time.sleep(seconds)
    browser.cancel()
    infos = [ServiceInfo(SERVICE, name) for name in sorted(there)]
    for info in infos:
        info.request(lan, RESOLVE_MS)
    return infos


def _addresses(info: ServiceInfo) -> list[str]:
    return [str(one) for one in info.ip_addresses_by_version(IPVersion.V4Only)]


def _own_addresses() -> tuple[str, ...]:
    every = (ip.ip for adapter in ifaddr.get_adapters() for ip in adapter.ips)
    mine = (ipaddress.IPv4Address(one) for one in every if isinstance(one, str))  # IPv6 are tuples
    return tuple(str(one) for one in mine if not one.is_loopback)

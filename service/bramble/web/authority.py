"""Whom a request is meant for, and from which page it comes: both have to be this appliance.

A name that somebody else owns may be made to lead to an address of this LAN, and a browser then
takes the page of that name for ours (DNS rebinding). So a request has to name this machine: by
its host name, an address of its own, localhost, or a name that the settings add. A browser sends
forms and plain text of any page to us unasked; so what changes something may not come from one.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from flask import Flask, request

from bramble.errors import BadInput, Elsewhere, OtherSite
from bramble.web.connection import connection

RESOLVER = Path("/etc/resolv.conf")
SETTING = "names in web.yml (bramble_names in the inventory, --names of bramble run)"
READING = ("GET", "HEAD", "OPTIONS")
KEYS = ("Authorization", "X-Api-Key", "Api-Key")  # no page of another site sends them unasked
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)(?:%25[\w.~-]+)?\]|([\w.-]+))(?::(\d{0,5}))?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ABSOLUTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://([^/?#]*)")


class Authority:
    """What this machine may be called. Raises BadInput for a name that is none."""

    def __init__(self, names: Iterable[str], listen: str) -> None:
        self._names = frozenset(map(_checked, names))
        self._listens_as = host_of(listen)

    def is_ours(self, host: str, local_address: str | None = None) -> bool:
        """True for a name or an address of ours; `host` is as host_of returns it.

        local_address  of the connection: surely ours, be it link-local
        """
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host in self._names or host == self._listens_as or host in _own_names()
        if local_address is not None and address == _parsed(local_address):
            return True
        return host in self._names or _is_own(address)

    def is_same_site(self, origin: str, host: str | None) -> bool:
        """True if the page at `origin` is of the host that it asks, or of a name that was added."""
        page = host_of(origin.partition("://")[2])
        return page is not None and (page == host or page in self._names)


def host_of(authority: str) -> str | None:
    """Return the host of HOST or HOST:PORT in lower case, without brackets; None if it is none."""
    found = _HOST.fullmatch(authority)
    if not found or int(found[3] or 0) > 65535:
        return None
    address = _parsed(found[1]) if found[1] else None
    if found[1]:
        return None if address is None else str(address)
    return found[2].lower().removesuffix(".") or None


def register(app: Flask, authority: Authority) -> None:
    """Have every request checked, whatever it asks for."""

    def check() -> None:
        if _CONTROL.search(request.environ.get("QUERY_STRING", "")):  # no header may repeat it
            raise BadInput("the query holds a control character; write it as %0D and the like")
        host = _asked_host(authority)
        if request.method not in READING and not any(key in request.headers for key in KEYS):
            _check_page(authority, host)

    app.before_request(check)


def _asked_host(authority: Authority) -> str | None:
    """Return the host that is asked, None where an old client names none. Raises Elsewhere."""
    sent = request.environ.get("HTTP_HOST")
    if sent is None and request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0":
        raise BadInput("the request has no Host header; HTTP/1.1 needs one")
    absolute = _ABSOLUTE.match(request.environ.get("RAW_URI", ""))
    asked = [text for text in (absolute and absolute[1], sent) if text is not None]
    here = connection()
    local_address = str(here.getsockname()[0]) if here is not None else None
    hosts = [host_of(text) for text in asked]
    for text, host in zip(asked, hosts, strict=True):
        if host is None or not authority.is_ours(host, local_address):
            raise Elsewhere(
                f"the request is for {text[:80]!r}, which is no name or address of this machine; "
                f"use one that is, or add it to {SETTING}"
            )
    return hosts[0] if hosts else None


def _check_page(authority: Authority, host: str | None) -> None:
    """Raise OtherSite for what a browser sends on behalf of another site's page."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if site in ("same-origin", "none"):
        return
    if origin is not None and authority.is_same_site(origin, host):
        return
    if origin is not None or site == "cross-site":
        raise OtherSite(
            f"a page of another site asks ({(origin or site or '')[:80]!r}); ask from our own "
            f"page, send an Authorization header, or add the site's host to {SETTING}"
        )


def _own_names() -> set[str]:
    """The host name alone, as mDNS says it, and in the domains that this machine searches."""
    whole = socket.gethostname().lower().removesuffix(".")
    short = whole.partition(".")[0]
    return {"localhost", whole, short} | {f"{short}.{domain}" for domain in ("local", *_domains())}


def _domains() -> list[str]:
    words: list[str] = []
    with suppress(OSError, UnicodeDecodeError):
        for line in RESOLVER.read_text().splitlines():
            if line.split()[:1] in (["search"], ["domain"]):
                words += line.split()[1:]
    return [word.lower().strip(".") for word in words if word.strip(".")]


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """True if this machine has the address: the kernel lets nobody bind to another's."""
    if address.is_multicast or str(address) == "255.255.255.255":
        return False
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _checked(name: str) -> str:
    text = f"[{name}]" if _parsed(name) and ":" in name else name
    host = host_of(text)
    if host is None or text.rpartition("]")[2].count(":"):
        raise BadInput(
            f"names: {name!r} is no host name or address; write it as browsers show it, without "
            "http:// and port, as chat.example.org"
        )
    return host

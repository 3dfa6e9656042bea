"""The SHA256SUMS file that a publisher puts beside its images."""

from __future__ import annotations

import fnmatch
import re
import urllib.parse
from dataclasses import dataclass

from cards.download import read_small
from cards.errors import Refused


@dataclass(frozen=True)
class Published:
    url: str
    sha256: str


def published(url: str) -> Published:
    """Look an image up in the SHA256SUMS beside it; `*` in its name takes the newest match."""
    sums_url = urllib.parse.urljoin(url, "SHA256SUMS")
    wanted = name_in(url)
    sums = parse_sums(read_small(sums_url))
    names = sorted(fnmatch.filter(sums, wanted), key=by_numbers)
    if not names:
        raise Refused(
            f"{sums_url} names no {wanted}; it names {', '.join(sorted(sums)) or 'nothing'}: "
            "correct bramble_flash_image_url, or give bramble_flash_image_sha256"
        )
    name = names[-1]
    exact = urllib.parse.urljoin(url, urllib.parse.quote(name, safe="+"))
    return Published(exact, sums[name])


def parse_sums(text: str) -> dict[str, str]:
    lines = re.findall(r"^([0-9a-f]{64}) [ *](\S+)$", text, re.MULTILINE)
    return {name: digest for digest, name in lines}


def name_in(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path.rpartition("/")[2])


def by_numbers(name: str) -> list[tuple[int, str]]:
    """Sort key by which 24.04.10 comes after 24.04.9, and 24.04.1 after 24.04."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D", name)
    ]

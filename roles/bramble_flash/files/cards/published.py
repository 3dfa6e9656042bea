"""What a publisher puts beside its images: SHA256SUMS with a signature, or IMAGE.sha256 and IMAGE.sig."""

from __future__ import annotations

import fnmatch
import re
import tempfile
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from cards.download import read_if_there, read_small
from cards.errors import NotThere, Refused
from cards.signature import check, keyring_for


@dataclass(frozen=True)
class Published:
    """An image and what its checksum rests on."""

    url: str
    sha256: str
    signature: str  # a sentence: who signed it, or why that was not checked
    signature_url: str = ""  # of a signature of the image itself, to be checked with `keyring`
    keyring: Path | None = None


def published(url: str, keyring: str = "") -> Published:
    """Look an image up in what lies beside it; `*` in its name takes the newest match of SHA256SUMS.

    keyring  file with the publisher's key; "": that of a package of this system, if there is one
    Raises Refused where a signature that can be checked is missing or bad.
    """
    keys, reason = keyring_for(url, keyring)
    sums_url = urllib.parse.urljoin(url, "SHA256SUMS")
    try:
        listed = read_small(sums_url)
    except NotThere:
        alone = None if "*" in name_in(url) else read_if_there(f"{url}.sha256")
        if alone is None:
            raise
        return _published_alone(url, alone, keys, reason)
    signed = f"not checked: {reason}"
    if keys is not None:
        signed = _signed(sums_url, listed, read_small(f"{sums_url}.gpg"), keys)
    return _named(url, sums_url, listed.decode("utf-8", "replace"), signed)


def _published_alone(url: str, listed: bytes, keys: Path | None, reason: str) -> Published:
    """An image with a checksum of its own beside it, as Raspberry Pi OS has them."""
    found = re.match(r"([0-9a-f]{64})\b", listed.decode("utf-8", "replace"))
    if found is None:
        raise Refused(f"{url}.sha256 holds no sha256: give bramble_flash_image_sha256")
    if keys is None:
        return Published(url, found[1], f"not checked: {reason}")
    return Published(url, found[1], "", f"{url}.sig", keys)


def _signed(sums_url: str, listed: bytes, signature: bytes, keys: Path) -> str:
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "SHA256SUMS"
        file.write_bytes(listed)
        return f"{sums_url} is signed by {check(file, signature, keys)} of {keys}"


def _named(url: str, sums_url: str, listed: str, signed: str) -> Published:
    wanted = name_in(url)
    sums = parse_sums(listed)
    names = sorted(fnmatch.filter(sums, wanted), key=by_numbers)
    if not names:
        raise Refused(
            f"{sums_url} names no {wanted}; it names {', '.join(sorted(sums)) or 'nothing'}: "
            "correct bramble_flash_image_url, or give bramble_flash_image_sha256"
        )
    name = names[-1]
    exact = urllib.parse.urljoin(url, urllib.parse.quote(name, safe="+"))
    return Published(exact, sums[name], signed)


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

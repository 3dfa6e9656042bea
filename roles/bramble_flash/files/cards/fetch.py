"""From what the user named to a checked image file on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cards.digest import sha256_of
from cards.download import download, read_small
from cards.errors import Failed, Refused
from cards.published import Published, name_in, published
from cards.signature import check


@dataclass(frozen=True)
class Image:
    path: Path
    sha256: str
    fetched: bool
    signature: str = ""  # a sentence; "" where the user gave file or checksum


def fetch(source: str, sha256: str, cache: Path, keyring: str = "") -> Image:
    """Return the image file, checked.

    source   a path, or an http(s) address whose last part may hold `*`
    sha256   of the file as published; empty: taken from what lies beside the address, and its signature checked
    cache    folder for downloads; a checked file in it is used again, a partial one continued
    keyring  with the publisher's key; empty: that of a package of this system, if there is one

    Raises Refused for a bad source or checksum, Failed for a cut or damaged download.
    """
    sha256 = sha256.lower()
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise Refused(f"got sha256 {sha256}: 64 hexadecimal digits are needed")
    if "://" not in source:
        return _local(Path(source).expanduser(), sha256)
    if sha256 and "*" in name_in(source):
        raise Refused(f"got a sha256 and {source}: name one image, without *")
    return _remote(Published(source, sha256, "") if sha256 else published(source, keyring), cache)


def _local(path: Path, sha256: str) -> Image:
    if not path.is_file():
        raise Refused(f"there is no image {path}: give a .img or .img.xz file or an address")
    found = sha256_of(path)
    if sha256 and found != sha256:
        raise Refused(f"{path} has sha256 {found}, not {sha256}: another or a damaged image")
    return Image(path, found, fetched=False)


def _remote(wanted: Published, cache: Path) -> Image:
    cache.mkdir(parents=True, exist_ok=True)
    name = name_in(wanted.url)
    kept = cache / f"{wanted.sha256[:12]}-{name}"
    if kept.exists() and sha256_of(kept) == wanted.sha256:
        return Image(kept, wanted.sha256, False, _signature(wanted, kept))
    part = kept.with_name(f"{kept.name}.part")
    download(wanted.url, part)
    found = sha256_of(part)
    if found != wanted.sha256:
        part.unlink()
        raise Failed(
            f"{wanted.url} came with sha256 {found}, not {wanted.sha256}: damaged on the way, or "
            "the checksum is another image's; removed, so run again or correct the checksum"
        )
    signature = _signature(wanted, part)
    part.replace(kept)
    return Image(kept, wanted.sha256, True, signature)


def _signature(wanted: Published, image: Path) -> str:
    """Check a signature of the image itself, if that is what is signed; return the sentence on it."""
    if wanted.keyring is None:
        return wanted.signature
    signer = check(image, read_small(wanted.signature_url), wanted.keyring)
    return f"{name_in(wanted.url)} is signed by {signer} of {wanted.keyring}"

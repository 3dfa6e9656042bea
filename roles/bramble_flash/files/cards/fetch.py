"""From what the user named to a checked image file on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from cards.digest import sha256_of
from cards.download import download
from cards.errors import Failed, Refused
from cards.published import Published, name_in, published


@dataclass(frozen=True)
class Image:
    path: Path
    sha256: str
    fetched: bool


def fetch(source: str, sha256: str, cache: Path) -> Image:
    """Return the image file, checked.

    source   a path, or an http(s) address whose last part may hold `*`
    sha256   of the file as published; empty: taken from the SHA256SUMS beside the address
    cache    folder for downloads; a checked file in it is used again, a partial one continued

    Raises Refused for a bad source or checksum, Failed for a cut or damaged download.
    """
    sha256 = sha256.lower()
    if sha256 and not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise Refused(f"got sha256 {sha256}: 64 hexadecimal digits are needed")
    if "://" not in source:
        return _local(Path(source).expanduser(), sha256)
    if sha256 and "*" in name_in(source):
        raise Refused(f"got a sha256 and {source}: name one image, without *")
    return _remote(Published(source, sha256) if sha256 else published(source), cache)


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
        return Image(kept, wanted.sha256, fetched=False)
    part = kept.with_name(f"{kept.name}.part")
    download(wanted.url, part)
    found = sha256_of(part)
    if found != wanted.sha256:
        part.unlink()
        raise Failed(
            f"{wanted.url} came with sha256 {found}, not {wanted.sha256}: damaged on the way, or "
            "the checksum is another image's; removed, so run again or correct the checksum"
        )
    part.replace(kept)
    return Image(kept, wanted.sha256, fetched=True)

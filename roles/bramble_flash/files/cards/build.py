"""One node's card image: the published image expanded, with the node's cloud-init files."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

from cards.digest import CHUNK_BYTES, sha256_of
from cards.errors import Failed, Refused
from cards.partition import SECTOR_BYTES, fat_offset
from cards.progress import Progress
from cards.seed import expect_cloud_init, files_in, place


def build(image: Path, image_sha256: str, seed: Path, target: Path) -> bool:
    """Make `target`; returns whether anything was done.

    A target that is still what an earlier run made from the same image and files is kept.
    An interrupted run leaves `target`.part alone, which the next run makes anew.
    """
    files = files_in(seed)
    made_from = {"image": image_sha256, **{name: _digest(data) for name, data in files.items()}}
    if _is_made(target, made_from):
        return False
    part = target.with_name(f"{target.name}.part")
    _record_path(target).unlink(missing_ok=True)
    _expand(image, part)
    offset = fat_offset(part)
    expect_cloud_init(part, offset)
    place(part, offset, files)
    _sync(part)
    record = {"made_from": made_from, "sha256": sha256_of(part)}
    part.replace(target)
    _record_path(target).write_text(json.dumps(record, indent=2) + "\n")
    return True


def _is_made(target: Path, made_from: dict[str, str]) -> bool:
    record = _record(target)
    return record.get("made_from") == made_from and record.get("sha256") == sha256_of(target)


def _record(target: Path) -> dict[str, Any]:
    try:
        found = json.loads(_record_path(target).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) and target.is_file() else {}


def _record_path(target: Path) -> Path:
    return target.with_suffix(".json")


def _expand(image: Path, part: Path) -> None:
    """Write the image's bytes to `part`, holes for zeros."""
    with _opened(image) as (content, packed), part.open("wb") as out:
        with Progress(f"expanding {image.name}", image.stat().st_size) as shown:
            for chunk in _chunks(content, image):
                if chunk.count(0) == len(chunk):
                    out.seek(len(chunk), os.SEEK_CUR)
                else:
                    out.write(chunk)
                shown.at(packed.tell())
        out.truncate(-(-out.tell() // SECTOR_BYTES) * SECTOR_BYTES)


@contextmanager
def _opened(image: Path) -> Iterator[tuple[IO[bytes], BinaryIO]]:
    """Yield the expanded content and the file it comes from."""
    with image.open("rb") as packed:
        if image.name.endswith(".img"):
            yield packed, packed
        elif image.name.endswith(".img.xz"):
            with lzma.open(packed) as content:
                yield content, packed
        else:
            raise Refused(f"got {image.name}: an image ends in .img or .img.xz")


def _chunks(content: IO[bytes], image: Path) -> Iterator[bytes]:
    while True:
        try:
            chunk = content.read(CHUNK_BYTES)
        except (lzma.LZMAError, EOFError) as error:
            raise Refused(f"{image} does not unpack ({error}): get it again") from error
        if not chunk:
            return
        yield chunk


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        try:
            os.fsync(file.fileno())
        except OSError as error:
            raise Failed(f"{path} did not reach the disk: {error.strerror}") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()

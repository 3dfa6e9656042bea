"""Get a file over HTTP into a folder, going on where an earlier try was cut."""

from __future__ import annotations

import http.client
import shutil
import time
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path

from cards.errors import Failed, NotThere, Refused
from cards.progress import Progress

CHUNK_BYTES = 1 << 20
TIMEOUT_S = 30
TRIES = 5
SMALL_BYTES = 1 << 20


def read_small(url: str) -> bytes:
    with _open(url, {}) as response:
        return bytes(response.read(SMALL_BYTES))


def read_if_there(url: str) -> bytes | None:
    """Return a small file, or None if the server has none of that name."""
    try:
        return read_small(url)
    except NotThere:
        return None


def download(url: str, part: Path, pause_s: float = 2.0) -> None:
    """Fetch `url` to the end of `part`; what `part` already holds is not fetched again."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause_s)
        total = _continue(url, part)
        if part.stat().st_size == total:
            return
    raise Failed(
        f"{url} was cut {TRIES} times, at {part.stat().st_size} of {total} bytes; "
        "what came is kept, run again to go on from there"
    )


def _continue(url: str, part: Path) -> int:
    """Append what the server still has; returns the whole file's size."""
    have = part.stat().st_size if part.exists() else 0
    with _open(url, {"Range": f"bytes={have}-"} if have else {}) as response:
        if response.status != HTTPStatus.PARTIAL_CONTENT:
            have = 0  # a server without Range sends the whole file
        total = have + int(response.headers.get("Content-Length") or 0)
        _expect_room(part.parent, total - have, url)
        with part.open("r+b" if have else "wb") as file, _shown(url, total) as shown:
            file.seek(have)
            _copy(response, file, shown)
    return total


def _copy(response: http.client.HTTPResponse, file, shown: Progress) -> None:  # type: ignore[no-untyped-def]
    while True:
        try:
            chunk = response.read(CHUNK_BYTES)
        except (OSError, http.client.HTTPException):
            return  # cut: what came is in the file, and the next try goes on
        if not chunk:
            return
        file.write(chunk)
        shown.at(file.tell())


def _shown(url: str, total: int) -> Progress:
    return Progress(f"fetching {url.rpartition('/')[2]}", total)


def _expect_room(folder: Path, needed: int, url: str) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise Failed(
            f"{folder} has {free >> 20} MiB free and {url} needs {needed >> 20} MiB more: "
            "free some, or set bramble_flash_cache to a folder with room"
        )


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    if not url.startswith(("http://", "https://")):
        raise Refused(f"got {url}: an image is a path of this machine or an http(s) address")
    try:
        response = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _open(url, {})
        kind = NotThere if error.code == HTTPStatus.NOT_FOUND else Refused
        raise kind(
            f"{url}: the server says {error.code} {error.reason}; correct the address"
        ) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise Failed(f"cannot reach {url}: {reason}; try again, or give a local image") from error
    assert isinstance(response, http.client.HTTPResponse)
    return response

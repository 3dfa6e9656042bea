"""A file by its sha256 over HTTP, from where an earlier attempt ended.

It knows one file and one server, not models. Redirects and proxies are not followed: the head is
on the same network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from bramble.errors import BadInput, BadShard, Unavailable

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 10.0  # of a connection that brings nothing
PATIENCE_S = 120.0  # without a single byte, over all attempts
FIRST_WAIT_S = 0.25  # before the second attempt; doubles, up to
MAX_WAIT_S = 8.0
LOOK_S = 0.2  # between signs of life while waiting

Tell = Callable[[int], None]  # bytes of the file that are here


class _Dropped(Exception):
    """An attempt ended early, and the next one may not."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class Server:
    """What serves files at `url`/SHA256."""

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        """Raises BadInput for what is no address."""
        self.url = url.rstrip("/")
        self._patience_s = patience_s
        self.came = 0  # bytes in all
        parts = urlsplit(self.url)
        kinds = {"http": HTTPConnection, "https": HTTPSConnection}
        try:
            self._kind, self._host, self._port = kinds[parts.scheme], parts.hostname, parts.port
        except (KeyError, ValueError) as error:
            raise BadInput(_no_address(url)) from error
        if not self._host:
            raise BadInput(_no_address(url))
        self._path = parts.path

    def download(self, sha256: str, max_bytes: int, partial: Path, tell: Tell) -> None:
        """Append to `partial` what it lacks of the file; what it has is not asked for again.

        tell  called with its size, several times a second; what it raises ends the download

        Raises Unavailable after too long without a byte, BadShard if the server has no such file
        or a longer one, OSError if it cannot be written. What has come stays. The sha256 of the
        whole is for the caller to see to.
        """
        wait_s, came_at = FIRST_WAIT_S, time.monotonic()
        while True:
            before = size_of(partial)
            try:
                self._continue(sha256, max_bytes, partial, tell)
                return
            except _Dropped as error:
                reason, asked_wait_s = str(error), error.retry_after_s
            now = time.monotonic()
            if size_of(partial) > before:
                wait_s, came_at = FIRST_WAIT_S, now
            if now - came_at > self._patience_s:
                raise Unavailable(
                    f"{self.url}: {reason}, for {self._patience_s:.0f} s; is bramble-web running "
                    "there, and reachable from here? What has come is kept, the next attempt "
                    "goes on from there"
                )
            _pause(max(wait_s, asked_wait_s), lambda: tell(size_of(partial)))
            wait_s = min(2 * wait_s, MAX_WAIT_S)

    def _continue(self, sha256: str, max_bytes: int, partial: Path, tell: Tell) -> None:
        with (
            partial.open("ab") as file,
            closing(self._kind(self._host or "", self._port, timeout=TIMEOUT_S)) as connection,
        ):
            start = size_of(partial)
            response, left = self._ask(connection, sha256, start)
            if response.status == 200 and start:
                start = file.truncate(0)  # this server sends it all
            if start + left > max_bytes:
                raise BadShard(
                    f"{self.url}/{sha256} has {start + left} bytes, {max_bytes} are expected; "
                    "export the model again or copy it anew to the head"
                )
            while left:
                chunk = _read(response, min(left, CHUNK_BYTES))
                file.write(chunk)
                file.flush()
                self.came += len(chunk)
                start, left = start + len(chunk), left - len(chunk)
                tell(start)

    def _ask(self, connection: HTTPConnection, sha256: str, start: int) -> tuple[HTTPResponse, int]:
        """Return the response and how many bytes it brings."""
        headers = {"Range": f"bytes={start}-"} if start else {}
        try:
            connection.request("GET", f"{self._path}/{sha256}", headers=headers)
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise _Dropped(_reason(error)) from error
        if response.status == 416:  # nothing lies behind what is here already
            return response, 0
        if response.status == 404:
            raise BadShard(
                f"{self.url} has no file {sha256[:12]}…; put the model's folder there, into the "
                "folder that `models` in its web.yml names"
            )
        begins = f"bytes {start}-" if response.status == 206 else ""
        is_ours = (response.headers["Content-Range"] or "").startswith(begins)
        length = response.headers["Content-Length"] or ""
        if response.status not in (200, 206) or not is_ours or not length.isdigit():
            after = response.headers["Retry-After"] or ""
            wait_s = min(float(after), MAX_WAIT_S) if after.isdigit() else 0.0
            raise _Dropped(f"it answers with HTTP {response.status}", wait_s)
        return response, int(length)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _read(response: HTTPResponse, count: int) -> bytes:
    """Return what has come, up to `count` bytes: none of it is lost when the rest does not."""
    try:
        chunk = response.read1(count)
    except (OSError, HTTPException) as error:
        raise _Dropped(_reason(error)) from error
    if not chunk:
        raise _Dropped("the connection ended in mid-file")
    return chunk


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {TIMEOUT_S:.0f} s"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _pause(seconds: float, alive: Callable[[], None]) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        alive()
        time.sleep(min(LOOK_S, left))


def _no_address(url: str) -> str:
    return f"{url!r} is no address of files; need one like http://10.0.0.11:8080/files"

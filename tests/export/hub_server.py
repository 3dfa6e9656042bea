"""A hub on this machine: the routes of huggingface.co that a download uses, and its faults."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "acme/tiny"


@dataclass(slots=True)
class Hub:
    """cuts: file name → bytes to send before the connection breaks, once."""

    folder: Path
    cuts: dict[str, int] = field(default_factory=dict)
    ranges: list[str] = field(default_factory=list)  # the Range headers that were asked for
    fetched: list[str] = field(default_factory=list)
    endpoint: str = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        api = f"/api/models/{REPOSITORY}"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            return self._json(self._info())
        if path.startswith(f"{api}/tree/{COMMIT}"):
            return self._json(self._tree())
        if path.startswith(f"/{REPOSITORY}/resolve/"):
            return self._file(path.split("/", 5)[5])
        code = "RevisionNotFound" if path.startswith(api) else "RepoNotFound"
        return self._missing(code)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep the tests' output clean."""

    def _files(self) -> list[Path]:
        return sorted(path for path in self.hub.folder.iterdir() if path.is_file())

    def _info(self) -> object:
        files = [{"rfilename": p.name, "size": p.stat().st_size} for p in self._files()]
        return {"id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "siblings": files}

    def _tree(self) -> object:
        return [
            {"type": "file", "path": p.name, "size": p.stat().st_size, "oid": _etag(p)}
            for p in self._files()
        ]

    def _file(self, name: str) -> None:
        path = self.hub.folder / name
        if not path.is_file():
            return self._missing("EntryNotFound")
        data, asked = path.read_bytes(), self.headers.get("Range")
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        start, stop = int(first), min(int(last or len(data)) + 1, len(data))
        body = data[start:stop]
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{_etag(path)}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.end_headers()
        if self.command == "GET":
            self._send(name, body, asked)
        return None

    def _send(self, name: str, body: bytes, asked: str | None) -> None:
        self.hub.fetched.append(name)
        if asked:
            self.hub.ranges.append(asked)
        cut = self.hub.cuts.pop(name, None)
        self.wfile.write(body[:cut])
        if cut is not None:
            self.close_connection = True

    def _json(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _missing(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes(), usedforsecurity=False).hexdigest()

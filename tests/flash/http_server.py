"""An HTTP server on loopback that can cut a download, with and without Range."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Files:
    content: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # bytes after which a reply ends, one each
    knows_ranges: bool = True
    requests: list[tuple[str, str]] = field(default_factory=list)  # path, Range
    url: str = ""


@contextmanager
def served() -> Iterator[Files]:
    files = Files()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(files))
    files.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(files: Files) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            span = self.headers.get("Range", "")
            files.requests.append((self.path, span))
            content = files.content.get(self.path.lstrip("/"))
            if content is None:
                self.send_error(404)
                return
            start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
            if not files.knows_ranges:
                start = 0
            if start and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = files.cuts.pop(0) if files.cuts else len(content)
            with suppress(ConnectionError):  # a client may have read enough
                self.wfile.write(content[start : start + stop])

        def log_message(self, template: str, *arguments: object) -> None:
            pass

    return Handler

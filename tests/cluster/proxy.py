"""The test hosts' only way out: an HTTP proxy that lets package downloads through.

It listens inside the lab's network namespace and connects from where it was started. Allowed are
the hosts that this machine's own apt sources and pip index name. What apt fetches is kept in a
folder, as every host wants the same files.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from pip._internal.models.index import PyPI

CLONE_NEWNET = 0x40000000
CHUNK = 1 << 16
KEPT = (".deb", ".xz", ".gz")  # of package pools and by-hash indices; never an InRelease


def main() -> None:
    namespace, address, port, cache = sys.argv[1:]
    allowed, kept = _allowed(), Path(cache)
    kept.mkdir(parents=True, exist_ok=True)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_CONNECT(self) -> None:
            host, _, port = self.path.partition(":")
            if self._refuses(host):
                return
            with socket.create_connection((host, int(port)), 30) as upstream:
                self.send_response(200)
                self.end_headers()
                upstream.settimeout(None)
                back = threading.Thread(target=_pipe, args=(upstream, self.connection))
                back.start()
                _pipe(self.connection, upstream)
                back.join()
            self.close_connection = True

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if self._refuses(url.hostname or ""):
                return
            place = kept / hashlib.sha256(self.path.encode()).hexdigest()
            if not place.exists():
                connection = HTTPConnection(url.hostname or "", url.port or 80, timeout=60)
                connection.request("GET", url.path, headers={"Host": url.netloc})
                answer = connection.getresponse()
                if answer.status != 200 or not url.path.endswith(KEPT):
                    self._forward(answer.status, answer.headers.get("Content-Type"), answer.read())
                    return
                part = place.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
                with part.open("wb") as file:
                    shutil.copyfileobj(answer, file, CHUNK)
                part.rename(place)
            self.send_response(200)
            self.send_header("Content-Length", str(place.stat().st_size))
            self.end_headers()
            with place.open("rb") as file:
                shutil.copyfileobj(file, self.wfile, CHUNK)

        def _forward(self, status: int, kind: str | None, body: bytes) -> None:
            self.send_response(status)
            if kind:
                self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _refuses(self, host: str) -> bool:
            if host in allowed:
                return False
            self.send_error(403, f"{host} is not a package source of this machine")
            return True

    with _listen_in(namespace, address, int(port), Handler) as server:
        server.serve_forever()


def _allowed() -> set[str]:
    sources = [Path("/etc/apt/sources.list"), *Path("/etc/apt/sources.list.d").glob("*")]
    text = "\n".join(path.read_text() for path in sources if path.is_file())
    settings = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    urls = re.findall(r"https?://[^\s'\"]+", text + settings + os.environ.get("PIP_INDEX_URL", ""))
    hosts = {urlsplit(url).hostname or "" for url in urls}
    return hosts | {urlsplit(PyPI.simple_url).hostname or "", PyPI.file_storage_domain}


def _listen_in(
    namespace: str, address: str, port: int, handler: type[BaseHTTPRequestHandler]
) -> ThreadingHTTPServer:
    """Bind in the namespace, then come back: a socket stays where it was made."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/proc/self/ns/net").open() as own, Path(f"/run/netns/{namespace}").open() as other:
        assert libc.setns(other.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        server = ThreadingHTTPServer((address, port), handler)
        assert libc.setns(own.fileno(), CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
    return server


def _pipe(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):  # either end may go first
        while data := source.recv(CHUNK):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()

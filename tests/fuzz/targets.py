"""What reads bytes that others wrote: one function each, that raises only where Bramble is wrong.

A refusal (BadInput, BadFrame and their kin) is an answer. Anything else that leaves a target is a
find. `python -m tests.fuzz` feeds them with coverage; test_kept.py with what was found before.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
from bramble.config import HeadConfig, StageConfig, WebConfig, read_config, read_keys
from bramble.errors import BadFrame, BadInput, BrambleError
from bramble.export.architectures import describe
from bramble.export.config_file import ConfigFile
from bramble.export.gguf_source import open_gguf
from bramble.export.safetensors import Checkpoint
from bramble.model import manifest as manifests
from bramble.model.tokenizer import Tokenizer
from bramble.plan.planner import Node, plan_ring
from bramble.web.app import create_app
from bramble.web.arrival import Arrival, Patience, Phase
from bramble.wire import frames
from flask import Flask

from tests.fuzz import sockets
from tests.fuzz.exchange import exchange
from tests.fuzz.sealing import cut, sealed
from tests.web.fake_client import FakeClient

GOLDEN = Path(__file__).parent.parent / "golden"
PATIENCE = Patience(60, 10, 30, 1_000_000)


def wire(data: bytes) -> None:
    """Frames: the first byte says how long the first is; with its checksum put right, too."""
    for candidate in (cut(data), sealed(data)):
        try:
            message = frames.unpack(candidate)
        except BadFrame:
            continue
        assert frames.unpack(frames.pack(message)) is not None


def manifest(data: bytes) -> None:
    """manifest.json, and what planner and head make of it."""
    with _folder({manifests.FILE_NAME: data}) as folder:
        try:
            found = manifests.read(folder)
            plan_ring(found, "0" * 64, [Node("a", 1 << 30), Node("b", 1 << 30)], 4, 128, "float32")
        except BrambleError:
            return


def tokenizer(data: bytes) -> None:
    """tokenizer.json, tokenizer_config.json and the maps beside them, between NUL bytes."""
    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
    given = dict(zip((*names, "added_tokens.json"), data.split(b"\0"), strict=False))
    with _folder(given) as folder:
        try:
            made = Tokenizer(folder)
            made.render_chat([{"role": "user", "content": "hi"}])
        except BadInput:
            return
        try:
            made.decode(made.encode("Hi <s> \u00e9\ufffd\n"))
        except BaseException as error:  # the desk refuses the request, whatever the library says
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise


def settings(data: bytes) -> None:
    """The YAML of a process's settings and of keys."""
    with _folder({"x.yml": data}) as folder:
        for read in (
            lambda path: read_config(StageConfig, path),
            lambda path: read_config(HeadConfig, path),
            lambda path: read_config(WebConfig, path),
            read_keys,
        ):
            try:
                read(folder / "x.yml")
            except BadInput as error:
                assert len(str(error)) < 10_000, "a refusal repeats what it refuses"


def architecture(data: bytes) -> None:
    """A Hugging Face config.json."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    if isinstance(document, dict):
        try:
            describe(ConfigFile(document))
        except BadInput:
            return


def safetensors(data: bytes) -> None:
    """A checkpoint: its table, and the rows that it says it has."""
    with _folder({"model.safetensors": data}) as folder:
        try:
            found = Checkpoint(folder)
            for name in found.names():
                shape = found.shape(name)
                rows = found.rows(name, 0, min(shape[0], 2)) if shape else np.zeros(0)
                assert np.isfinite(rows).all()
        except BadInput:
            return


def gguf(data: bytes) -> None:
    """A GGUF file: what it makes of itself, its tokenizer, and the first rows of each tensor."""
    with _folder({"m.gguf": data}) as folder:
        try:
            source = open_gguf(folder / "m.gguf")
            for name in source.weights.names():
                assert np.isfinite(source.weights.rows(name, 0, 1)).all()
            for name, text in source.texts.items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
            Tokenizer(folder)
        except BadInput as error:
            assert len(str(error)) < 10_000 and "\n" not in str(error)


def arrival(data: bytes) -> None:
    """One HTTP connection: where requests end does not depend on how their bytes come."""
    assert _requests([data]) == _requests([data[i : i + 1] for i in range(len(data))])


def _requests(pieces: list[bytes]) -> list[bytes]:
    at, taken = Arrival(PATIENCE, 0.0), []
    for piece in pieces:
        at.add(piece, 0.0)
        while at.phase is Phase.COMPLETE:
            if at.is_last:
                return taken  # gunicorn refuses what follows
            taken.append(at.take(0.0))
            at.resume(0.0)
        if at.phase in (Phase.HEADER_TOO_LARGE, Phase.BODY_TOO_LARGE):
            return taken
    return taken


def body(data: bytes) -> None:
    """The body of a completion: the first byte says of which."""
    path = ("/v1/chat/completions", "/v1/completions")[bool(data) and data[0] & 1]
    headers = {"CONTENT_TYPE": "application/json", "HTTP_HOST": "localhost"}
    assert _status("POST", path, headers, data[1:]) < 500


def request(data: bytes) -> None:
    """Path, query and three headers, by lines: whatever they are, there is no 500."""
    lines = [line.decode("latin-1") for line in data.split(b"\n")[:6]]
    method, path, *values = lines + [""] * (6 - len(lines))
    names = ("HTTP_HOST", "HTTP_ORIGIN", "HTTP_RANGE", "HTTP_SEC_FETCH_SITE")
    given = {name: value for name, value in zip(names, values, strict=True) if value}
    assert _status(method[:10] or "GET", path, given, b"") < 500


@cache
def _web() -> Flask:
    return create_app(WebConfig(models=GOLDEN), FakeClient())


def _status(method: str, target: str, headers: dict[str, str], data: bytes) -> int:
    """What the application answers where gunicorn hands it this request."""
    path, _, query = target.partition("?")
    told: list[str] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SCRIPT_NAME": "",
        "SERVER_NAME": "0.0.0.0",
        "SERVER_PORT": "8080",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "CONTENT_LENGTH": str(len(data)),
        "RAW_URI": target,
        "wsgi.input": io.BytesIO(data),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **headers,
    }
    answer = _web()(environ, lambda status, *_: told.append(status))
    try:
        for _ in answer:
            pass
    finally:
        getattr(answer, "close", lambda: None)()
    return int(told[0].split()[0])


@contextmanager
def _folder(files: dict[str, bytes]) -> Iterator[Path]:
    """A folder with these files; in memory, as thousands of them come and go."""
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm") as made:
        for name, data in files.items():
            (Path(made) / name).write_bytes(data)
        yield Path(made)


TARGETS: dict[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        *(wire, manifest, tokenizer, settings, architecture),
        *(safetensors, gguf, arrival, body, request, exchange),
    )
} | sockets.TARGETS

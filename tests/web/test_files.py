"""/files/SHA256: what the manifests list and nothing else, whole or in part, a few at a time."""

from __future__ import annotations

import hashlib
import shutil
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bramble.config import WebConfig
from bramble.model import manifest as manifests
from bramble.web.app import create_app
from bramble.web.transfers import MAX_TRANSFERS
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.web.fake_client import FakeClient
from tests.web.file_server import make_model, serving

NOBODY = "0" * 64


@pytest.fixture
def models(tmp_path: Path) -> Path:
    make_model(tmp_path / "models" / "llama")
    return tmp_path / "models"


@pytest.fixture
def files(models: Path) -> FlaskClient:
    return client_of(models)


def client_of(models: Path) -> FlaskClient:
    """A client that reads each answer and closes it, unless told otherwise."""

    class Reader(FlaskClient):
        def open(self, *args: Any, **more: Any) -> TestResponse:
            return super().open(*args, **{"buffered": True, **more})

    app = create_app(WebConfig(models=models), FakeClient())
    app.test_client_class = Reader
    return app.test_client()


def entry(models: Path, name: str) -> manifests.File:
    return manifests.read(models / "llama").files[name]


def path_of(models: Path, name: str = "shards/layer-001.data") -> str:
    return f"/files/{entry(models, name).sha256}"


def test_every_listed_file_and_the_manifest_are_served_by_sha256(
    models: Path, files: FlaskClient
) -> None:
    wanted = [file.sha256 for file in manifests.read(models / "llama").files.values()]
    for sha256 in [*wanted, manifests.sha256(models / "llama")]:
        response = files.get(f"/files/{sha256}")
        assert response.status_code == 200
        assert hashlib.sha256(response.data).hexdigest() == sha256
        assert response.content_length == len(response.data)
        assert response.headers["ETag"] == f'"{sha256}"'
        assert "immutable" in response.headers["Cache-Control"]


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [("5-", 5, None), ("0-99", 0, 100), ("1048575-1048577", 1048575, 1048578), ("-7", -7, None)],
)
def test_a_range_is_answered_with_that_part(
    asked: str, start: int, stop: int | None, tmp_path: Path
) -> None:
    make_model(tmp_path / "llama", layer_bytes=2_500_000)
    content = (tmp_path / "llama" / "shards" / "layer-001.data").read_bytes()
    response = client_of(tmp_path).get(path_of(tmp_path), headers={"Range": f"bytes={asked}"})
    assert response.status_code == 206
    assert response.data == content[start:stop]
    assert response.content_length == len(response.data)
    assert (response.headers["Content-Range"] or "").endswith("/2500000")


def test_what_a_client_has_is_not_sent_again(models: Path, files: FlaskClient) -> None:
    path = path_of(models)
    response = files.get(path, headers={"If-None-Match": f'"{path.rpartition("/")[2]}"'})
    assert (response.status_code, response.data) == (304, b"")


def test_a_head_request_tells_the_size(models: Path, files: FlaskClient) -> None:
    response = files.head(path_of(models))
    assert (response.status_code, response.content_length, response.data) == (200, 1_000_000, b"")


def test_a_range_behind_the_end_is_refused_with_the_size(models: Path, files: FlaskClient) -> None:
    response = files.get(path_of(models), headers={"Range": "bytes=1000000-"})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == "bytes */1000000"


@pytest.mark.parametrize("name", ["x", NOBODY[1:], NOBODY.replace("0", "F"), "manifest.json"])
def test_what_is_no_sha256_is_bad_input(name: str, files: FlaskClient) -> None:
    response = files.get(f"/files/{name}")
    assert response.status_code == 400
    assert "is no sha256" in response.get_json()["error"]["message"]


@pytest.mark.parametrize("name", [NOBODY, "..%2f..%2fetc%2fpasswd", "../../etc/passwd"])
def test_anything_else_is_not_found(name: str, files: FlaskClient) -> None:
    response = files.get(f"/files/{name}")
    assert response.status_code == 404
    assert response.get_json()["error"]["message"]


def test_without_models_there_are_no_files(models: Path, http: FlaskClient) -> None:
    assert http.get(path_of(models)).status_code == 404


def test_a_model_that_comes_changes_or_goes_shows_at_once(models: Path, files: FlaskClient) -> None:
    first = path_of(models)
    assert files.get(first).status_code == 200
    second = make_model(models / "qwen", seed=7)
    assert files.get(f"/files/{second}").status_code == 200
    shutil.rmtree(models / "llama")
    assert files.get(first).status_code == 404
    make_model(models / "llama", seed=8)
    assert files.get(path_of(models)).status_code == 200
    assert files.get(first).status_code == 404


def test_a_file_of_another_size_or_none_is_not_served(models: Path, files: FlaskClient) -> None:
    shard = models / "llama" / "shards" / "layer-001.data"
    shard.write_bytes(shard.read_bytes()[:-1])
    assert files.get(path_of(models)).status_code == 404
    shard.unlink()
    assert files.get(path_of(models)).status_code == 404
    shard.mkdir()
    assert files.get(path_of(models)).status_code == 404


def test_a_link_out_of_the_folder_is_not_followed(models: Path, files: FlaskClient) -> None:
    shard = models / "llama" / "shards" / "layer-001.data"
    shutil.move(shard, models.parent / "elsewhere")
    shard.symlink_to(models.parent / "elsewhere")
    assert files.get(path_of(models)).status_code == 404


def test_a_manifest_that_cannot_be_read_hides_no_other_model(
    models: Path, files: FlaskClient
) -> None:
    (models / "broken").mkdir()
    (models / "broken" / "manifest.json").write_text("{")
    assert files.get(path_of(models)).status_code == 200


def test_one_transfer_too_many_is_asked_to_come_back(models: Path, files: FlaskClient) -> None:
    path = path_of(models)
    with ExitStack() as stack:
        for _ in range(MAX_TRANSFERS):
            stack.enter_context(files.get(path, buffered=False))
        refused = files.get(path)
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) >= 1
    for _ in range(2 * MAX_TRANSFERS):  # every place is free again, whatever the answer was
        for headers in ({}, {"Range": "bytes=9999999-"}, {"Range": "bytes=3-5"}):
            assert files.get(path, headers=headers).status_code in (200, 206, 416)
        assert files.head(path).status_code == 200


def test_probes_answer_while_all_transfers_run(tmp_path: Path) -> None:
    make_model(tmp_path / "llama", layer_bytes=30_000_000, layers=1)
    path = path_of(tmp_path, "shards/layer-000.data")
    with serving(tmp_path) as port, ThreadPoolExecutor(MAX_TRANSFERS) as pool:

        def fetch(_: int) -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
                count = 0
                while piece := response.read(1 << 20):
                    count += len(piece)
                    time.sleep(0.02)
                return count

        counts = pool.map(fetch, range(MAX_TRANSFERS))
        longest_s = 0.0
        for _ in range(20):
            started = time.monotonic()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as response:
                response.read()
            longest_s = max(longest_s, time.monotonic() - started)
        assert list(counts) == [30_000_000] * MAX_TRANSFERS
    assert longest_s < 1.0


def test_clients_that_leave_in_mid_file_give_their_places_back(tmp_path: Path) -> None:
    make_model(tmp_path / "llama", layer_bytes=30_000_000, layers=1)
    path = path_of(tmp_path, "shards/layer-000.data")
    with serving(tmp_path) as port:
        for _ in range(3 * MAX_TRANSFERS):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
                response.read(1000)
            time.sleep(0.05)

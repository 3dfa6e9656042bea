"""Ollama's API over HTTP: what is served is listed, asked and kept; all else is refused."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from tests.web.fake_client import WORDS, FakeClient

TEXT = "".join(WORDS)
NAMES = ("fake", "fake:latest")


def asking(content: str, **members: Any) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": content}], **members}


def lines_of(response: TestResponse) -> list[dict[str, Any]]:
    assert response.content_type == "application/x-ndjson"
    return [json.loads(line) for line in response.data.splitlines()]


@pytest.mark.parametrize("name", NAMES)
def test_a_chat_streams_lines_unless_told_otherwise(http: FlaskClient, name: str) -> None:
    *said, last = lines_of(http.post("/api/chat", json=asking("hi", model=name)))
    assert "".join(line["message"]["content"] for line in said) == TEXT
    assert not any(line["done"] for line in said) and last["done"]
    assert {line["model"] for line in [*said, last]} == {name}
    whole = http.post("/api/chat", json=asking("hi", stream=False))
    assert whole.content_type == "application/json" and whole.json is not None
    assert whole.json["message"] == {"role": "assistant", "content": TEXT}


def test_a_prompt_is_answered(http: FlaskClient, fake: FakeClient) -> None:
    body = {"model": "fake", "prompt": "hi", "options": {"num_ctx": 9}}
    response = http.post("/api/generate", json=body)
    assert "".join(line["response"] for line in lines_of(response)) == TEXT
    assert response.headers["X-Bramble-Ignored"] == "options.num_ctx"
    assert http.post("/api/generate", json=body | {"raw": True}).status_code == 200
    assert fake.asked[-1].prompt == "hi"


def test_the_model_is_listed_shown_and_running(http: FlaskClient) -> None:
    (listed,) = http.get("/api/tags").json["models"]  # type: ignore[index]
    (running,) = http.get("/api/ps").json["models"]  # type: ignore[index]
    shown = http.post("/api/show", json={"model": listed["model"]}).json
    assert listed["name"] == listed["model"] == running["model"] == "fake:latest"
    assert listed["digest"] == running["digest"] and len(listed["digest"]) == 64
    assert listed["size"] == running["size"] == 12345
    assert shown is not None and shown["details"] == listed["details"] == running["details"]
    assert listed["details"]["family"] == shown["model_info"]["general.architecture"] == "llama"
    assert listed["details"]["parameter_size"] == "1.5B"
    assert shown["model_info"]["llama.context_length"] == running["context_length"] == 100
    assert shown["capabilities"] == listed["capabilities"] == ["completion", "tools"]


def test_openais_api_takes_the_name_that_is_listed_here(http: FlaskClient) -> None:
    assert http.get("/v1/models/fake:latest").status_code == 200
    body = asking("hi", model="fake:latest")
    assert http.post("/v1/chat/completions", json=body).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags"])
def test_clients_look_whether_somebody_is_there(http: FlaskClient, path: str) -> None:
    assert http.head(path).status_code == 200


def test_a_version_is_one_of_ollamas(http: FlaskClient) -> None:
    version = http.get("/api/version").json["version"]  # type: ignore[index]
    assert tuple(map(int, version.split("."))) >= (0, 6, 4)  # which some clients ask for


@pytest.mark.parametrize("name", NAMES)
def test_the_model_that_is_there_is_pulled_at_once(http: FlaskClient, name: str) -> None:
    lines = lines_of(http.post("/api/pull", json={"name": name}))
    assert lines[-1] == {"status": "success"}
    whole = http.post("/api/pull", json={"model": name, "stream": False})
    assert whole.json == {"status": "success"}


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
def test_nothing_to_answer_loads_the_model(http: FlaskClient, path: str) -> None:
    response = http.post(path, json={"model": "fake"})
    assert response.json is not None and response.json["done"]
    assert response.json["done_reason"] == "load"
    unload = http.post(path, json={"model": "fake", "keep_alive": 0})
    assert unload.json is not None and unload.json["done_reason"] == "unload"
    assert http.post(path, json={"model": "fake", "options": {"x": 1}}).status_code == 400


@pytest.mark.parametrize(
    "path",
    ["/api/chat", "/api/generate", "/api/show", "/api/pull", "/api/embed", "/api/embeddings"],
)
def test_another_model_is_not_found(http: FlaskClient, path: str) -> None:
    response = http.post(path, json={"model": "llama3.2"})
    assert response.status_code == 404 and response.json is not None
    assert response.json["error"].startswith("model 'llama3.2' not found")
    assert http.post(path, json={}).status_code == 400


@pytest.mark.parametrize("think", [True, "low", False, "none", None])
def test_a_model_without_thoughts_is_not_asked_for_them(http: FlaskClient, think: Any) -> None:
    response = http.post("/api/chat", json=asking("hi", think=think, stream=False))
    assert response.status_code == (400 if think in (True, "low") else 200)
    if response.status_code == 400:
        assert "does not support thinking" in response.json["error"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/api/embed", 400),
        ("POST", "/api/embeddings", 400),
        ("POST", "/api/create", 400),
        ("POST", "/api/copy", 400),
        ("POST", "/api/push", 400),
        ("POST", "/api/blobs/sha256:00", 400),
        ("DELETE", "/api/delete", 400),
        ("GET", "/api/nothing", 404),
        ("GET", "/api/chat", 405),
        ("PUT", "/api/tags", 405),
    ],
)
def test_what_is_not_offered_is_refused_in_ollamas_shape(
    http: FlaskClient, method: str, path: str, status: int
) -> None:
    response = http.open(path, method=method, json={"model": "fake", "input": "x"})
    assert response.status_code == status and response.json is not None
    assert [*response.json] == ["error"] and isinstance(response.json["error"], str)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"a":' * 5000, b'{"model": 1}', b"\xff"])
@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show"])
def test_a_bad_body_is_refused_in_ollamas_shape(http: FlaskClient, path: str, body: bytes) -> None:
    response = http.post(path, data=body)
    assert response.status_code == 400 and response.json is not None
    assert isinstance(response.json["error"], str)


@pytest.mark.parametrize(
    ("script", "status"), [("full", 429), ("long", 400), ("down", 503), ("poison", 500)]
)
def test_an_error_before_the_reply_is_a_status(http: FlaskClient, script: str, status: int) -> None:
    response = http.post("/api/chat", json=asking(script, stream=False))
    assert response.status_code == status and response.json is not None
    assert isinstance(response.json["error"], str)
    assert ("Retry-After" in response.headers) == (status in (429, 503))


def test_an_error_amid_a_stream_is_its_last_line(http: FlaskClient) -> None:
    *said, last = lines_of(http.post("/api/chat", json=asking("break")))
    assert [line["message"]["content"] for line in said] == WORDS[:2]
    assert last == {"error": "the ring ended it"}


def test_a_reply_that_is_asked_again_with_its_key_is_the_same_to_the_byte(
    http: FlaskClient, fake: FakeClient
) -> None:
    ask = partial(http.post, "/api/chat", json=asking("hi"), headers={"Idempotency-Key": "k"})
    assert ask().data == ask().data
    assert fake.asked[0].request == fake.asked[1].request and fake.asked[0].key


def test_the_pages_own_document_keeps_its_error_shape(http: FlaskClient, fake: FakeClient) -> None:
    fake.is_away = True
    error = http.get("/api/status").json["error"]  # type: ignore[index]
    assert isinstance(error["message"], str)
    assert isinstance(http.get("/api/tags").json["error"], str)  # type: ignore[index]


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
def test_a_body_that_is_turned_away_unread_is_answered_in_the_shape_of_its_url(
    url: str, path: str
) -> None:
    host, port = url.removeprefix("http://").split(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=10)) as connection:
        connection.putrequest("POST", path)
        connection.putheader("Content-Length", "2000000")
        connection.endheaders()
        response = connection.getresponse()
        error = json.loads(response.read())["error"]
    assert response.status == 413
    assert "1000000 bytes" in (error if path == "/api/chat" else error["message"])


NAMES = """messages prompt system raw suffix images tools format options think stream keep_alive
logprobs top_logprobs role content thinking tool_calls tool_name tool_call_id function name
arguments temperature top_p num_predict stop seed repeat_penalty repeat_last_n num_ctx"""
names = st.sampled_from(NAMES.split())
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("path", "valid"),
    [
        ("/api/chat", {"messages": [{"role": "user", "content": "hi"}]}),
        ("/api/generate", {"prompt": "hi"}),
    ],
)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, values, max_size=5), st.booleans())
def test_no_body_makes_a_500(
    http: FlaskClient, path: str, valid: dict[str, Any], body: dict[str, Any], is_valid: bool
) -> None:
    body |= {"model": "fake", **(valid if is_valid else {})}
    response = http.post(path, data=json.dumps(body))
    response.close()
    assert response.status_code in (200, 400)

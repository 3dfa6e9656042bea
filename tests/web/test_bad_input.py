"""Whatever is sent gets an error in OpenAI's shape that names the parameter; never a 500."""

import gzip
import io
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHAT = "/v1/chat/completions"
USER = [{"role": "user", "content": "hi"}]
CASES: list[tuple[str, Any, str | None]] = [
    ("malformed JSON", b'{"messages": [', None),
    ("invalid UTF-8", b'{"messages": "\xff"}', None),
    ("empty body", b"", None),
    ("a list", [], None),
    ("not a number", b'{"temperature": NaN}', None),
    ("deep nesting", b"[" * 100_000, None),
    ("no messages", {}, "messages"),
    ("empty messages", {"messages": []}, "messages"),
    ("messages of a wrong type", {"messages": "hi"}, "messages"),
    ("a message of a wrong type", {"messages": ["hi"]}, "messages[0]"),
    ("unknown role", {"messages": [{"role": "god", "content": "x"}]}, "messages[0].role"),
    ("a result of no call", {"messages": [{"role": "tool"}]}, "messages[0].tool_call_id"),
    (
        "an image",
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        "messages[0].content[0]",
    ),
    ("negative temperature", {"messages": USER, "temperature": -1}, "temperature"),
    ("temperature as text", {"messages": USER, "temperature": "hot"}, "temperature"),
    ("a truth as number", {"messages": USER, "max_tokens": True}, "max_tokens"),
    ("max_tokens 0", {"messages": USER, "max_tokens": 0}, "max_tokens"),
    ("top_p below 0", {"messages": USER, "top_p": -0.1}, "top_p"),
    (
        "a penalty that logits cannot be divided by",
        {"messages": USER, "repetition_penalty": 1e-300},
        "repetition_penalty",
    ),
    ("n 100", {"messages": USER, "n": 100}, "n"),
    ("top_logprobs alone", {"messages": USER, "top_logprobs": 2}, "top_logprobs"),
    ("an empty stop", {"messages": USER, "stop": ""}, "stop"),
    (
        "a tool without a name",
        {"messages": USER, "tools": [{"type": "function"}]},
        "tools[0].function.name",
    ),
    ("a misspelt name", {"messages": USER, "temprature": 1}, "temprature"),
    ("usage without a stream", {"messages": USER, "stream_options": {}}, "stream_options"),
]


@pytest.mark.parametrize(("body", "param"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_bad_bodies_get_a_400(http: FlaskClient, body: Any, param: str | None) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body)
    response = http.post(CHAT, data=data)
    assert response.status_code == 400
    assert response.json is not None
    error = response.json["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert error["message"]


def test_a_misspelt_name_gets_a_hint(http: FlaskClient) -> None:
    response = http.post(CHAT, json={"messages": USER, "temprature": 1})
    assert response.json is not None
    assert "did you mean temperature?" in response.json["error"]["message"]


def test_a_body_of_two_megabytes_gets_a_413(http: FlaskClient) -> None:
    response = http.post(CHAT, data=b"x" * 2_000_000)
    assert response.status_code == 413
    assert response.json is not None
    assert response.json["error"]["code"] == "request_too_large"


def test_a_compressed_body_is_refused_by_its_name(http: FlaskClient) -> None:
    body = gzip.compress(json.dumps({"messages": USER}).encode())
    response = http.post(CHAT, data=body, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 400
    assert response.json is not None
    assert "Content-Encoding: gzip" in response.json["error"]["message"]


@pytest.mark.parametrize("length", [-1, 0, 1, 70_000])
def test_a_chunked_body_beyond_the_limit_gets_a_413(http: FlaskClient, length: int) -> None:
    allowed = http.application.config["MAX_CONTENT_LENGTH"] - 1
    body = json.dumps({"messages": USER}).encode().ljust(allowed + length)  # whole if cut
    response = http.post(
        CHAT,
        input_stream=io.BytesIO(body),
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},  # as gunicorn sets it
    )
    assert response.status_code == (413 if length > 0 else 200)
    if length > 0:
        assert response.json is not None
        assert f"{allowed} bytes" in response.json["error"]["message"]


def test_neutral_values_pass(http: FlaskClient) -> None:
    body = {"messages": USER, "tools": [], "response_format": {"type": "text"}, "user": "me"}
    assert http.post(CHAT, json=body).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/nothing", 404, "no such URL: GET /v1/nothing; offered are "),
        (CHAT, 405, "GET is not allowed here; use POST"),
    ],
)
def test_unknown_paths_and_methods_answer_in_json(
    http: FlaskClient, path: str, status: int, message: str
) -> None:
    response = http.get(path)
    assert response.status_code == status
    assert response.json is not None and response.json["error"]["message"].startswith(message)


@pytest.mark.parametrize("path", ["/v1/messages/batches", "/v1/responses/compact", CHAT + "/x"])
def test_what_has_the_place_of_a_replys_id_and_is_none_is_an_unknown_url(
    http: FlaskClient, path: str
) -> None:
    response = http.post(path, json={})
    assert response.status_code == 404
    assert response.json["error"]["message"].startswith(f"no such URL: POST {path}; offered are ")


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embedding", "/api/nothing", "/v2/chat"])
def test_an_unknown_url_is_told_what_is_offered_and_at_which_address(
    http: FlaskClient, path: str
) -> None:
    text = http.post(path, json={}).get_data(as_text=True)
    assert "/v1/chat/completions" in text and "takes http://localhost/v1 as its base URL" in text
    assert ("has no embeddings" in text) is (path == "/v1/embeddings")


@pytest.mark.parametrize(
    "path",
    [CHAT + "/", "/v1///chat/completions//", "/chat/completions", "/v1/v1/chat/completions/"],
)
def test_a_path_is_found_with_slashes_too_many_and_without_v1(http: FlaskClient, path: str) -> None:
    assert http.post(path, json={"messages": USER}).status_code == 200
    assert http.get(path.replace("chat/completions", "models")).status_code == 200


def test_what_llama_cpps_clients_look_up_is_there(http: FlaskClient) -> None:
    assert http.get("/health").json == {"status": "ok"}
    props = http.get("/props").json
    assert props is not None and props["default_generation_settings"]["n_ctx"] == 100


def test_pages_probes_and_metrics_answer(http: FlaskClient) -> None:
    for path in ("/", "/status", "/healthz", "/readyz", "/api/status", "/metrics"):
        response = http.get(path)
        assert response.status_code == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
    http.post(CHAT, json={"messages": USER})
    metrics = http.get("/metrics").data
    assert b"bramble_up 1.0" in metrics
    assert b'bramble_ring_serving{ring="0"} 1.0' in metrics
    assert b'bramble_ring_serving{ring="1"} 0.0' in metrics
    assert b'bramble_ring_requests_running{ring="1"} 2.0' in metrics
    assert b"bramble_time_to_first_token_seconds_count 1.0" in metrics
    assert b"bramble_reply_length_tokens_sum 5.0" in metrics


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = """messages temperature max_tokens n stop stream seed logit_bias top_p model stream_options
logprobs top_logprobs tools top_k ignore_eos tool_choice parallel_tool_calls response_format think
guided_json guided_regex guided_choice structured_outputs reasoning thinking chat_template_kwargs
reasoning_effort reasoning_format num_predict functions store"""
names = st.sampled_from(NAMES.split())


MEMBERS = [
    "role",
    "content",
    "tool_calls",
    "tool_call_id",
    "function",
    "name",
    "arguments",
    "type",
    "id",
    "parameters",
    "json_schema",
    "schema",
    "json",
    "choice",
    "effort",
    "reasoning_content",
    "text",
]
objects = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([*"ab", "function", "tool", "{}"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(st.sampled_from(["role", *MEMBERS]), objects, max_size=4),
    st.dictionaries(names, objects, max_size=3),
)
def test_no_message_and_no_tool_makes_a_500(
    http: FlaskClient, message: dict[str, Any], members: dict[str, Any]
) -> None:
    body = {"tools": [message], **members, "messages": [*USER, message]}
    response = http.post(CHAT, data=json.dumps(body))
    response.close()
    assert response.status_code in (200, 400, 404)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, json_values, max_size=5), st.booleans())
def test_no_body_makes_a_500(http: FlaskClient, body: dict[str, Any], is_valid: bool) -> None:
    if is_valid:
        body = {**body, "messages": USER}
    response = http.post(CHAT, data=json.dumps(body))
    response.close()
    assert response.status_code in (200, 400, 404)

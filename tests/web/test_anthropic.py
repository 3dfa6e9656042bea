"""Anthropic's routes, with the fake head behind them."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web.fake_client import FakeClient


def body(text: str = "hi", **members: Any) -> dict[str, Any]:
    message = {"role": "user", "content": text}
    return {"model": "fake", "max_tokens": 50, "messages": [message]} | members


def test_a_message_is_answered(http: FlaskClient) -> None:
    headers = {"x-api-key": "any", "anthropic-version": "2023-06-01", "anthropic-beta": "x"}
    response = http.post("/v1/messages?beta=true", json=body(), headers=headers)
    assert response.status_code == 200
    assert response.json["content"][0]["text"] == "Hello there, friend."
    assert response.headers["request-id"] == response.json["id"]


def test_a_stream_begins_with_the_message_and_ends_with_its_stop(http: FlaskClient) -> None:
    text = http.post("/v1/messages", json=body(stream=True)).get_data(as_text=True)
    names = [line.removeprefix("event: ") for line in text.splitlines() if line[:6] == "event:"]
    assert names[:2] == ["message_start", "content_block_start"]
    assert set(names[2:-3]) == {"content_block_delta"}
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_an_error_amid_a_stream_is_its_last_event(http: FlaskClient) -> None:
    text = http.post("/v1/messages", json=body("break", stream=True)).get_data(as_text=True)
    *_, last = [event for event in text.split("\n\n") if event]
    assert last.startswith('event: error\ndata: {"type":"error","error":{"type":"api_error"')


@pytest.mark.parametrize(
    ("path", "document", "status", "kind"),
    [
        ("", body(model="claude-sonnet-4-5"), 404, "not_found_error"),
        ("", body(max_tokens=None), 400, "invalid_request_error"),
        ("", body("long"), 400, "invalid_request_error"),
        ("", body("full"), 429, "rate_limit_error"),
        ("", body("down"), 503, "overloaded_error"),
        ("/count_tokens", {"messages": []}, 400, "invalid_request_error"),
        ("/count_tokens", body(model="claude-sonnet-4-5"), 404, "not_found_error"),
        ("/batches", body(), 404, "not_found_error"),
        ("/msg_0123", body(), 405, "invalid_request_error"),
    ],
)
def test_errors_have_anthropics_shape(
    path: str, document: dict[str, Any], status: int, kind: str, http: FlaskClient
) -> None:
    response = http.post(f"/v1/messages{path}", json=document)
    assert response.status_code == status
    assert response.json["type"] == "error"
    assert response.json["error"]["type"] == kind


def test_another_model_is_refused_with_the_name_of_what_is_served(http: FlaskClient) -> None:
    response = http.post("/v1/messages", json=body(model="claude-sonnet-4-5"))
    assert "'fake' is" in response.json["error"]["message"]


def test_a_prompt_that_is_too_long_is_refused_in_words_that_agents_know(http: FlaskClient) -> None:
    error = http.post("/v1/messages", json=body("long")).json["error"]
    assert error["message"].startswith("prompt is too long: the context is")


def test_a_thread_is_refused_so_that_clients_send_the_whole_conversation(http: FlaskClient) -> None:
    error = http.post("/v1/messages", json=body(thread={"type": "create"})).json["error"]
    details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert (error["type"], error["details"]) == ("invalid_request_error", details)


def test_the_list_of_models_has_what_anthropics_clients_read(http: FlaskClient) -> None:
    found = http.get("/v1/models", headers={"anthropic-version": "2023-06-01"}).json
    (model,) = found["data"]
    assert (model["id"], model["type"], model["display_name"]) == ("fake", "model", "fake")
    assert model["created_at"] == "1970-01-01T00:00:00Z"
    assert (found["first_id"], found["last_id"], found["has_more"]) == ("fake", "fake", False)


def test_tokens_are_counted_without_a_reply(http: FlaskClient, fake: FakeClient) -> None:
    document = body() | {"max_tokens": None}
    assert http.post("/v1/messages/count_tokens", json=document).json == {"input_tokens": 7}
    assert fake.asked[0].max_tokens == 0 and fake.running == 0


def test_a_message_can_be_had_again_and_deleted(http: FlaskClient) -> None:
    message = http.post("/v1/messages", json=body()).json
    assert http.get(f"/v1/messages/{message['id']}").json == message
    assert http.delete(f"/v1/messages/{message['id']}").status_code == 200
    gone = http.get(f"/v1/messages/{message['id']}")
    assert (gone.status_code, gone.json["error"]["type"]) == (404, "not_found_error")

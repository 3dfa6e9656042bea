"""Clients that come back for a reply: by its id, or with the key they sent."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.web.fake_client import MARK, WORDS, FakeClient

TEXT = "".join(WORDS)
CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}]}


def events(data: bytes) -> list[dict[str, str]]:
    """Return the id and data of each event."""
    blocks = [each.splitlines() for each in data.decode().split("\n\n")]
    fields = [dict(line.split(": ", 1) for line in each if line[:1] != ":") for each in blocks]
    return [each for each in fields if "data" in each]


def text_of(some: list[dict[str, str]]) -> str:
    documents = [json.loads(each["data"]) for each in some if each["data"] != "[DONE]"]
    choices = [choice for each in documents for choice in each["choices"]]
    return "".join(each["delta"].get("content", "") for each in choices)


@pytest.mark.parametrize("number", [1, 3, 7])
def test_a_stream_goes_on_by_its_id_behind_the_last_event(http: FlaskClient, number: int) -> None:
    asked = http.post(CHAT, json=BODY | {"stream": True})
    whole = events(asked.data)
    reply_id = json.loads(whole[0]["data"])["id"]
    assert asked.headers["X-Request-Id"] == reply_id
    last = {"Last-Event-ID": whole[number - 1]["id"]}
    rest = http.get(f"{CHAT}/{reply_id}", headers=last)
    assert rest.headers["Content-Type"].startswith("text/event-stream")
    assert events(rest.data) == whole[number:]
    assert events(http.get(f"{CHAT}/{reply_id}").data) == whole


@pytest.mark.parametrize("path", [CHAT, "/v1/completions"])
def test_a_whole_reply_can_be_had_again(http: FlaskClient, path: str) -> None:
    body = BODY if path == CHAT else {"prompt": ["a", "b"], "echo": True}
    reply = http.post(path, json=body | {"n": 2}).json
    assert reply is not None and len(reply["choices"]) == 2 * (1 + (path != CHAT))
    again = http.get(f"{path}/{reply['id']}").json
    assert again == reply


def test_a_whole_reply_is_streamed_to_whom_asks_for_events(http: FlaskClient) -> None:
    reply = http.post(CHAT, json=BODY).json
    assert reply is not None
    streamed = http.get(f"{CHAT}/{reply['id']}", headers={"Accept": "text/event-stream"})
    assert text_of(events(streamed.data)) == TEXT


def test_with_a_key_the_same_body_is_the_same_request(http: FlaskClient, fake: FakeClient) -> None:
    http.post(CHAT, json=BODY, headers={"Idempotency-Key": "k"})
    http.post(CHAT, json=dict(reversed(BODY.items())), headers={"Idempotency-Key": "k"})
    http.post(CHAT, json=BODY | {"n": 1}, headers={"Idempotency-Key": "k"})
    http.post(CHAT, json=BODY, headers={"Idempotency-Key": "l"})
    http.post(CHAT, json=BODY)
    http.post(CHAT, json=BODY)
    first, second, altered, other, *plain = fake.asked
    assert (first.request, first.sampling.seed) == (second.request, second.sampling.seed)
    assert first.is_seeded and first.key == altered.key != other.key
    names = {each.request for each in (first, altered, other, *plain)}
    assert len(names) == 5
    assert not any(each.key or each.is_seeded for each in plain)


def test_choices_with_a_key_have_names_and_seeds_of_their_own(
    http: FlaskClient, fake: FakeClient
) -> None:
    http.post(CHAT, json=BODY | {"n": 2}, headers={"Idempotency-Key": "k"})
    first, second = fake.asked
    assert first.key != second.key and first.request != second.request
    assert first.sampling.seed != second.sampling.seed


def test_a_request_with_a_key_goes_on_behind_the_last_event(
    http: FlaskClient, fake: FakeClient
) -> None:
    headers = {"Idempotency-Key": "k", "Last-Event-ID": f"3.{MARK[:8]}"}
    rest = events(http.post(CHAT, json=BODY | {"stream": True}, headers=headers).data)
    assert text_of(rest) == "".join(WORDS[2:])
    assert fake.asked[0].received == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Idempotency-Key": ""}, 400),
        ({"Idempotency-Key": "k" * 256}, 400),
        ({"Last-Event-ID": "seven"}, 400),
        ({"Last-Event-ID": "9" * 99 + ".00"}, 400),
        ({"Last-Event-ID": f"3-3.{MARK[:8]}"}, 400),
        ({"Last-Event-ID": "3.ffffffff"}, 404),
    ],
)
def test_a_header_that_is_of_no_reply_is_refused(
    http: FlaskClient, headers: dict[str, str], status: int
) -> None:
    response = http.post(CHAT, json=BODY | {"stream": True}, headers=headers)
    assert response.status_code == status


@pytest.mark.parametrize("reply_id", ["chatcmpl-" + "0" * 32, "chatcmpl-x", "x", "0" * 32])
@pytest.mark.parametrize("method", ["get", "delete"])
def test_a_reply_that_nobody_has_is_not_found(
    http: FlaskClient, reply_id: str, method: str
) -> None:
    response = getattr(http, method)(f"{CHAT}/{reply_id}")
    assert response.status_code == 404
    assert response.json["error"]["code"] == "reply_not_found"


def test_a_deleted_reply_is_gone(http: FlaskClient) -> None:
    reply = http.post(CHAT, json=BODY | {"n": 2}).json
    assert reply is not None
    place = f"{CHAT}/{reply['id']}"
    assert http.delete(place).json == {
        "id": reply["id"],
        "object": "chat.completion.deleted",
        "deleted": True,
    }
    assert http.get(place).status_code == http.delete(place).status_code == 404


def test_a_page_of_another_site_cannot_end_a_reply(http: FlaskClient) -> None:
    reply = http.post(CHAT, json=BODY).json
    assert reply is not None
    headers = {"Origin": "http://elsewhere"}
    assert http.delete(f"{CHAT}/{reply['id']}", headers=headers).status_code == 403

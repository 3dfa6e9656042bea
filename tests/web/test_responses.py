"""OpenAI's Responses by the real `openai` package, against real gunicorn with the fake head."""

from collections.abc import Iterator

import openai
import pytest
from flask.testing import FlaskClient
from openai import OpenAI


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_a_response_is_answered_whole(client: OpenAI) -> None:
    response = client.responses.create(model="fake", input="hi", instructions="be brief")
    assert response.output_text == "Hello there, friend."
    assert response.status == "completed" and response.instructions == "be brief"
    assert response.usage is not None and response.usage.total_tokens == 12


def test_a_response_is_streamed(client: OpenAI) -> None:
    with client.responses.stream(model="fake", input="hi") as stream:
        deltas = [each.delta for each in stream if each.type == "response.output_text.delta"]
        assert "".join(deltas) == stream.get_final_response().output_text


def test_an_error_amid_a_stream_fails_the_response(client: OpenAI) -> None:
    *_, last = client.responses.create(model="fake", input="break", stream=True)
    assert last.type == "response.failed" and last.response.error is not None


def test_a_response_can_be_had_again_and_deleted(client: OpenAI) -> None:
    *_, last = client.responses.create(model="fake", input="hi", stream=True)
    assert last.type == "response.completed"
    assert client.responses.retrieve(last.response.id).output == last.response.output
    *_, again = client.responses.retrieve(last.response.id, stream=True)
    assert again.type == "response.completed" and again.response == last.response
    client.responses.delete(last.response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(last.response.id)


def test_an_item_of_an_earlier_reply_can_be_referred_to(client: OpenAI) -> None:
    item = client.responses.create(model="fake", input="hi").output[0]
    user = {"role": "user", "content": "and?"}
    response = client.responses.create(
        model="fake",
        input=[user, {"type": "item_reference", "id": item.id}, user],  # type: ignore[list-item]
    )
    assert response.status == "completed"


def test_tokens_are_counted_without_a_reply(client: OpenAI) -> None:
    assert client.responses.input_tokens.count(model="fake", input="hi").input_tokens == 7


def test_errors_have_openais_shape(client: OpenAI, http: FlaskClient) -> None:
    with pytest.raises(openai.NotFoundError, match="'fake' is"):
        client.responses.create(model="gpt-5", input="hi")
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="fake", input="hi", previous_response_id="resp_1")
    assert caught.value.param == "previous_response_id"
    with pytest.raises(openai.BadRequestError, match="messages: unknown parameter"):
        client.responses.create(model="fake", input="hi", extra_body={"messages": []})
    response = http.post("/v1/responses", json={"input": "hi", "store": True})
    assert response.headers["X-Bramble-Ignored"] == "store"

"""The real `openai` package against real gunicorn."""

import json
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.web.fake_client import WORDS

TEXT = "".join(WORDS)
USER = [{"role": "user", "content": "hi"}]


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=10) as client:
        yield client


def asking(content: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": content}]


def test_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["fake"]
    assert client.models.retrieve("fake").owned_by == "bramble"


def test_a_chat_completion(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(model="fake", messages=USER, max_completion_tokens=9)
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.role == "assistant"
    assert reply.choices[0].message.content == TEXT
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None and reply.usage.total_tokens == 12


def test_a_streamed_chat_completion_with_usage(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="fake", messages=USER, stream=True, stream_options={"include_usage": True}
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == TEXT
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_no_usage_chunk_unless_asked(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="fake", messages=USER, stream=True))
    assert all(chunk.choices for chunk in chunks)


@pytest.mark.parametrize("is_streamed", [False, True])
def test_n_replies(client: openai.OpenAI, is_streamed: bool) -> None:
    reply = client.chat.completions.create(model="fake", messages=USER, n=3, stream=is_streamed)
    texts = ["", "", ""]
    if is_streamed:
        for chunk in reply:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    else:
        for choice in reply.choices:
            texts[choice.index] = choice.message.content
    assert texts == [TEXT] * 3


def test_logprobs(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="fake", messages=USER, logprobs=True, top_logprobs=1
    )
    content = reply.choices[0].logprobs.content
    assert [one.token for one in content] == WORDS
    assert content[0].top_logprobs[0].logprob == -0.5


def test_a_text_completion_streamed_and_not(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="fake", prompt=["a", "b"], logprobs=1, stop=["\n"])
    assert [choice.text for choice in whole.choices] == [TEXT, TEXT]
    assert whole.choices[0].logprobs.text_offset == [0, 5, 11, 12, 19]
    parts = client.completions.create(model="fake", prompt="a", stream=True)
    assert "".join(part.choices[0].text for part in parts) == TEXT


WEATHER: Any = {"type": "function", "function": {"name": "weather"}}


def test_a_call_comes_whole_and_in_parts_and_its_result_goes_back(client: openai.OpenAI) -> None:
    asked: list[Any] = asking("call")
    whole = client.chat.completions.create(model="fake", messages=asked, tools=[WEATHER])
    message = whole.choices[0].message
    assert whole.choices[0].finish_reason == "tool_calls"
    assert message.content == "Let me see." and message.tool_calls is not None
    assert message.model_extra == {"reasoning_content": "Where?"}
    (call,) = message.tool_calls
    assert call.type == "function"
    with client.chat.completions.stream(model="fake", messages=asked, tools=[WEATHER]) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert streamed.finish_reason == "tool_calls" and streamed.message.tool_calls is not None
    assert streamed.message.content == message.content
    assert streamed.message.tool_calls[0].function.arguments == call.function.arguments
    assert json.loads(call.function.arguments) == {"city": "Rome"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "18 degrees"}
    history = [*asked, message.model_dump(), result]
    last = client.chat.completions.create(model="fake", messages=history, tools=[WEATHER])
    assert last.choices[0].message.content == TEXT


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("full", openai.RateLimitError),
        ("long", openai.BadRequestError),
        ("down", openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("is_streamed", [False, True])
def test_refusals_are_the_packages_own_errors(
    client: openai.OpenAI, content: str, error: type[openai.APIStatusError], is_streamed: bool
) -> None:
    with pytest.raises(error) as caught:
        client.chat.completions.create(model="fake", messages=asking(content), stream=is_streamed)
    if error is not openai.BadRequestError:
        assert int(caught.value.response.headers["Retry-After"]) > 0
    else:
        assert caught.value.code == "context_length_exceeded"
        assert caught.value.param == "messages"


def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="'fake' is"):
        client.chat.completions.create(model="gpt-4", messages=USER)


def test_an_error_in_the_middle_of_a_stream_is_raised(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="fake", messages=asking("break"), stream=True)
    with pytest.raises(openai.APIError, match="the ring ended it"):
        for _ in stream:
            pass


def test_a_request_that_ends_stages_is_not_sent_again_by_the_client(client: openai.OpenAI) -> None:
    """OpenAI's client would send what got a 500 again: five times take it five seconds or more."""
    started = time.monotonic()
    with pytest.raises(openai.InternalServerError, match="a stage ended 2 times") as raised:
        client.with_options(max_retries=5).chat.completions.create(
            model="fake", messages=asking("poison")
        )
    assert time.monotonic() - started < 3
    assert raised.value.code == "poison_request"
    assert raised.value.response.headers["x-should-retry"] == "false"

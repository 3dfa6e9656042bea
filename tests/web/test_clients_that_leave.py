"""Clients that go away, and two hundred at once, against real gunicorn."""

import http.client
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bramble.web.about import About
from bramble.web.choices import Choices
from bramble.wire.messages import Generate, Sampling

from tests.web.conftest import MAX_RUNNING, get_json
from tests.web.fake_client import FakeClient


def post(url: str, content: str, **members: Any) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=20)
    body = {"messages": [{"role": "user", "content": content}], **members}
    connection.request("POST", "/v1/chat/completions", json.dumps(body))
    return connection


def wait_for_cancel(url: str, before: int) -> float:
    started = time.monotonic()
    while time.monotonic() - started < 20:
        if get_json(f"{url}/api/status")["requests"]["cancelled"] > before:
            return time.monotonic() - started
        time.sleep(0.05)
    raise AssertionError("the request was not cancelled")


@pytest.mark.parametrize(
    ("script", "is_streamed"), [("slow", True), ("read", True), ("read", False)]
)
def test_leaving_cancels_the_request(url: str, script: str, is_streamed: bool) -> None:
    before = get_json(f"{url}/api/status")["requests"]["cancelled"]
    connection = post(url, script, stream=is_streamed)
    time.sleep(0.3)
    assert connection.sock is not None
    connection.sock.close()
    assert wait_for_cancel(url, before) < 2.5  # the status is a second old at most


def test_a_client_that_stops_reading_is_cancelled(url: str) -> None:
    before = get_json(f"{url}/api/status")["requests"]["cancelled"]
    connection = post(url, "flood", stream=True)
    assert wait_for_cancel(url, before) > 1  # it was given its time
    connection.close()


@pytest.mark.parametrize(
    ("header", "value", "body", "status", "words"),
    [
        ("Content-Length", "100", b'{"mess', 408, "did not arrive"),
        ("Transfer-Encoding", "chunked", b"zz\r\n{}\r\n0\r\n\r\n", 400, "chunk size"),
    ],
)
def test_a_body_that_does_not_come_as_announced_is_refused(
    url: str, header: str, value: str, body: bytes, status: int, words: str
) -> None:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=20)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader(header, value)
    connection.endheaders(body)
    response = connection.getresponse()
    assert response.status == status
    assert words in json.loads(response.read())["error"]["message"]
    connection.close()


def test_a_foreign_page_cannot_have_a_browser_ask_unasked(url: str) -> None:
    body = b'{"messages": [{"role": "user", "content": "hello"}]}'
    statuses = []
    for kind, origin in (("text/plain", True), ("application/json", True), ("text/plain", False)):
        headers = {"Content-Type": kind} | ({"Origin": "http://elsewhere"} if origin else {})
        request = urllib.request.Request(f"{url}/v1/chat/completions", body, headers)
        try:
            statuses.append(urllib.request.urlopen(request, timeout=20).status)
        except urllib.error.HTTPError as error:
            statuses.append(error.code)
    assert statuses == [403, 403, 200]


def test_several_choices_are_cancelled_though_none_was_read() -> None:
    fake = FakeClient()
    asked = [Generate(str(i), Sampling(), prompt="slow", max_tokens=5) for i in range(3)]
    about = About("chat", "x", 3, 3, is_streamed=True)
    choices = Choices(lambda index: fake.generate(asked[index]), about)
    assert choices.accept(10.0)
    assert fake.running == 3
    choices.close()
    assert (fake.running, fake.cancelled) == (0, 3)


def test_progress_arrives_as_comments(url: str) -> None:
    connection = post(url, "read", stream=True)
    lines = connection.getresponse()
    assert lines.readline() == b': accepted {"prompt_tokens":7}\n'
    lines.readline()
    expected = b': progress {"queue_position":0,"prefilled_tokens":128,"prompt_tokens":900}\n'
    assert lines.readline() == expected
    connection.close()


def test_two_hundred_at_once_are_served_or_refused_and_probes_answer(url: str) -> None:
    def ask(_: int) -> int:
        connection = post(url, "slow")
        status = connection.getresponse().status
        connection.close()
        return status

    health: list[float] = []
    is_over = threading.Event()

    def probe() -> None:
        while not is_over.wait(0.2):
            started = time.monotonic()
            assert get_json(f"{url}/healthz") == {"status": "ok"}
            health.append(time.monotonic() - started)

    with ThreadPoolExecutor(201) as pool:
        prober = pool.submit(probe)
        statuses = list(pool.map(ask, range(200)))
        is_over.set()
        prober.result()
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= MAX_RUNNING
    assert health

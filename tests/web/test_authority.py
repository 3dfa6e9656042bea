"""Requests name this machine, and what changes something comes from no other site's page."""

from __future__ import annotations

import json
import socket
import urllib.parse
from typing import Any

import pytest
from bramble.config import WebConfig
from bramble.errors import BadInput
from bramble.web.app import create_app
from bramble.web.authority import Authority
from flask.testing import FlaskClient

from tests.web.conftest import Server
from tests.web.fake_client import FakeClient

NAME = socket.gethostname().lower()
SHORT = NAME.partition(".")[0]
PATHS = (
    "/",
    "/status",
    "/healthz",
    "/readyz",
    "/leader",
    "/leader/quorum",
    "/metrics",
    "/api/status",
    "/v1/models",
    "/nothing",
)
CHAT = "/v1/chat/completions"
BODY = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def client() -> FlaskClient:
    names = ("Chat.Example.org", "203.0.113.9", "2001:db8::9")
    return create_app(WebConfig(names=names), FakeClient()).test_client()


def ask(client: FlaskClient, path: str, host: str, **headers: str) -> tuple[int, Any]:
    response = client.get(path, headers={"Host": host, **headers})
    return response.status_code, response.json if response.is_json else None


OURS = [
    *("localhost", "LOCALHOST:9000", "localhost.", "127.0.0.1", "127.0.0.1:8080", "127.8.8.8"),
    *("[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]", "0.0.0.0:8080", "[::ffff:127.0.0.1]"),
    *(NAME, f"{NAME}:8080", f"{NAME.upper()}.", SHORT, f"{SHORT}.local", f"{SHORT}.LOCAL.:8080"),
    *("chat.example.org", "CHAT.example.org.:443", "203.0.113.9", "[2001:db8::9]:80"),
]
OTHERS = [
    *("evil.example", "evil.example:8080", "localhost.evil.example", "xn--localhost", "", " "),
    *(f"{SHORT}.evil.example", f"x{SHORT}", f"{SHORT}.local.evil.example", f"{SHORT}..", "."),
    *("8.8.8.8", "8.8.8.8:8080", "[2001:db8::1]", "224.0.0.1", "255.255.255.255", "169.254.1.1"),
    *("127.0.0.1.evil.example", "::1", "[::1", "[localhost]", "127.1", "2130706433"),
    *("localhost:x", "localhost:99999", "localhost@evil.example", "evil@localhost"),
    *("localhost/", "localhost,evil.example", "localhost evil.example", "lo\u0441alhost"),
]


@pytest.mark.parametrize("host", OURS)
def test_who_is_named_rightly_answers(client: FlaskClient, host: str) -> None:
    assert ask(client, "/v1/models", host)[0] == 200


@pytest.mark.parametrize("host", OTHERS)
def test_another_name_is_refused(client: FlaskClient, host: str) -> None:
    response = client.get("/v1/models", environ_overrides={"HTTP_HOST": host})
    assert response.status_code in (400, 421)
    assert response.json is not None and response.json["error"]["message"]


@pytest.mark.parametrize("path", [*PATHS, "/static/js/chat.js", f"/files/{'0' * 64}"])
def test_no_route_answers_to_another_name(client: FlaskClient, path: str) -> None:
    status, document = ask(client, path, "evil.example", **{"X-Forwarded-Host": "localhost"})
    assert status == 421
    assert document["error"]["code"] == "misdirected_request"
    assert "'evil.example'" in document["error"]["message"]
    assert "bramble_names" in document["error"]["message"]


def test_a_forwarded_name_changes_nothing(client: FlaskClient) -> None:
    headers = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    assert ask(client, "/v1/models", "localhost", **headers)[0] == 200


@pytest.mark.parametrize(
    ("name", "is_ours"), [("pi1.lan", True), ("[::1]:8080", True), ("pi2.lan", False)]
)
def test_the_address_that_is_listened_on_is_a_name(name: str, is_ours: bool) -> None:
    client = create_app(WebConfig(listen="pi1.lan:8080"), FakeClient()).test_client()
    assert ask(client, "/healthz", name)[0] == (200 if is_ours else 421)


@pytest.mark.parametrize(
    "name", ["http://pi1", "pi1:8080", "*", "*.lan", "", "a b", "[::1]:80", "p\u00ef1", "pi1/x"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="names: "):
        Authority((name,), "0.0.0.0:8080")


def test_the_own_link_local_address_is_known_by_the_connection() -> None:
    authority = Authority((), "[::]:8080")
    assert authority.is_ours("fe80::77", "fe80::77%eth0")
    assert not authority.is_ours("fe80::78", "fe80::77%eth0")


# ------------------------------------------------------------------------- over a real connection


def status_of(server: Server, request: str) -> tuple[int, str]:
    address = urllib.parse.urlsplit(server.url)
    answer = b""
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        connection.sendall(request.encode())
        while piece := connection.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


@pytest.mark.parametrize(
    ("request_line", "hosts", "status"),
    [
        ("GET /v1/models HTTP/1.1", ["localhost"], 200),
        ("GET /v1/models HTTP/1.0", [], 200),
        ("GET /v1/models HTTP/1.0", ["evil.example"], 421),
        ("GET /v1/models HTTP/1.1", [], 400),
        ("GET /v1/models HTTP/1.1", [""], 421),
        ("GET /v1/models HTTP/1.1", ["localhost", "evil.example"], 400),
        ("GET /v1/models HTTP/1.1", ["localhost", "localhost"], 400),
        ("GET http://localhost/v1/models HTTP/1.1", ["localhost"], 200),
        ("GET http://evil.example/v1/models HTTP/1.1", ["localhost"], 421),
        ("GET http://localhost/v1/models HTTP/1.1", ["evil.example"], 421),
        ("GET http://localhost@evil.example/v1/models HTTP/1.1", ["localhost"], 421),
    ],
)
def test_the_host_is_found_wherever_it_stands(
    server: Server, request_line: str, hosts: list[str], status: int
) -> None:
    lines = [request_line, *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
    got, body = status_of(server, "\r\n".join(lines))
    assert got == status
    assert status == 200 or json.loads(body)["error"]["message"]


# ---------------------------------------------------------------------------- pages of other sites


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://LOCALHOST"},
        {"Origin": "https://chat.example.org"},
        {"Origin": "http://evil.example", "Authorization": "Bearer x"},
        {"Origin": "http://evil.example", "X-Api-Key": "x"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://proxied.example"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
    ],
)
def test_what_comes_from_us_or_from_no_page_is_done(
    client: FlaskClient, headers: dict[str, str]
) -> None:
    assert client.post(CHAT, json=BODY, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "http://127.0.0.1"},
        {"Origin": "http://user@localhost"},
        {"Origin": "localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://other.localhost"},
    ],
)
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_what_a_page_of_another_site_sends_is_refused(
    client: FlaskClient, headers: dict[str, str], kind: str
) -> None:
    response = client.post(CHAT, data=json.dumps(BODY), content_type=kind, headers=headers)
    assert response.status_code == 403
    assert response.json is not None and response.json["error"]["code"] == "other_site"


def test_reading_is_for_the_browser_to_forbid(client: FlaskClient) -> None:
    assert client.get("/v1/models", headers={"Origin": "http://evil.example"}).status_code == 200

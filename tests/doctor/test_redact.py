"""What must not leave a node, in every shape in which it lies about, and what must stay legible."""

from __future__ import annotations

import pytest
from bramble.doctor.redact import GONE, redact
from hypothesis import given
from hypothesis import strategies as st

Z85 = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7"
SSH = "AAAAC3NzaC1lZDI1NTE5AAAAIHtq0dG9SbTqzWlhNnnpTDZQ"
PEM = f"""-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAA
{SSH}
AAAEC
-----END OPENSSH PRIVATE KEY-----"""


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"node_key: '{Z85}'", Z85),
        (f"pi1: {Z85}", Z85),
        (f"level=INFO key={Z85} node=pi1", Z85),
        ("password: hunter2", "hunter2"),
        ("password: 123456", "123456"),
        ("wifi_psk: correct horse battery", "battery"),
        ('api_key: "with \\" quote inside"', "quote inside"),
        ("api_keys:\n  - laptop-one\n  - phone-two\nport: 8080", "phone-two"),
        ("secrets:\n  a:\n    b: deep-one\nport: 8080", "deep-one"),
        ("token: |\n  first-line\n  second-line\nport: 1", "second-line"),
        ("password: first\n  continued\nport: 1", "continued"),
        ('{"token": "abc123", "n": 1}', "abc123"),
        ("{'api_token': 'abc123'}", "abc123"),
        ("bramble probe --token abc123 --port 1", "abc123"),
        ("secret_key: shortone", "shortone"),
        ("NODE_KEY=shortone", "shortone"),
        ("curl -u admin:letmein http://10.0.0.11", "letmein"),
        ("GET /v1/models?api_key=abcdef HTTP/1.1", "abcdef"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("authorization: Bearer abc.def", "abc.def"),
        ('"Authorization": "Bearer xyz-123456"', "xyz-123456"),
        ("sent Bearer xyz-123456 to the hub", "xyz-123456"),
        ("Cookie: session=abcdef; other=ghijkl", "ghijkl"),
        ("X-API-Key: abcdef", "abcdef"),
        ("https://user:letmein@hub.local/x", "letmein"),
        ("OPENAI sk-proj-abcdefgh12345678", "abcdefgh12345678"),
        ("downloading with hf_abcdefghijklmnop", "abcdefghijklmnop"),
        ("ghp_abcdefghijklmnop1234", "abcdefghijklmnop1234"),
        ("eyJhbGciOi.eyJzdWIiOiIx.c2lnbmF0dXJl", "eyJzdWIiOiIx"),
        (f"ssh-ed25519 {SSH} me@laptop", SSH),
        (f"ssh-ed25519 {SSH} me@laptop", "me@laptop"),
        (PEM, "AAAEC"),
        (PEM.removesuffix("-----END OPENSSH PRIVATE KEY-----"), "b3BlbnNzaC1rZXktdjEAAAAA"),
        ("f81d4fae7dec11d0a76500a0c91e6bf6 seen", "11d0a76500a0c91e6bf6"),
        ("got 9fJ2kLmQ8xZpR4tVbN7wYcD1 back", "9fJ2kLmQ8xZpR4tVbN7wYcD1"),
    ],
)
def test_no_secret_stays(text: str, secret: str) -> None:
    assert secret in text and secret not in redact(text)


@pytest.mark.parametrize(
    "line",
    [
        "level=INFO stage=0 layers=0-7 decode_tokens_s=12.1 prefill_tokens=128",
        "max_tokens: 512",
        "head: tcp://10.0.0.11:7100",
        "models: /var/lib/bramble/models/Meta-Llama-3-8B-Instruct-int4",
        "2026-11-21T08:00:00+0000 pi1 systemd[1]: Started bramble-stage@0.service.",
        "/opt/bramble/releases/0.3.0/lib/python3.12/site-packages/bramble/stage/service.py:120",
        "eth0: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc mq state UP mode DEFAULT",
        "link/ether d8:3a:dd:12:34:56 brd ff:ff:ff:ff:ff:ff",
        "Linux version 6.8.0-1020-raspi (buildd@bos03-arm64-044)",
        "mmcblk0: error -110 transferring data, sector 6016528, nr 56",
        "keys: /etc/bramble/keys.yml",
    ],
)
def test_what_a_helper_needs_stays(line: str) -> None:
    assert redact(line) == line


def test_a_digest_keeps_the_digits_that_tell_it_from_another() -> None:
    assert redact("got sha256 " + "0123abcd" * 8) == "got sha256 0123abcd…"


WORDS = st.text(alphabet="abcdefgh XYZ:=-_'\"\n{}", min_size=6, max_size=40)


@given(secret=WORDS.filter(lambda word: len(word.strip()) >= 6 and "\n" not in word), before=WORDS)
def test_a_known_secret_goes_whatever_surrounds_it(secret: str, before: str) -> None:
    known = secret.strip()
    assert known not in redact(f"{before}{known}{before}", [secret]).replace(GONE, "\0")


def test_lines_around_a_secret_stay() -> None:
    text = "port: 8080\npassword: hunter2\nlisten: 0.0.0.0\n"
    assert redact(text) == f"port: 8080\npassword: {GONE}\nlisten: 0.0.0.0\n"

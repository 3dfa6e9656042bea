"""Who may talk to whom over TCP: real sockets, with CURVE keys and without."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from bramble.errors import BadInput, Broken
from bramble.wire.messages import Beat
from bramble.wire.transport import (
    MAX_FILES,
    MAX_STEP_BYTES,
    Keyring,
    Transport,
    new_secret,
    public_of,
)

SECRETS = {name: new_secret() for name in ("head", "pi", "stranger")}
PUBLIC = {name: public_of(secret) for name, secret in SECRETS.items()}
KNOWN = {name: PUBLIC[name] for name in ("head", "pi")}


class Node:
    """A transport with its keys, whose channels are closed with the test."""

    def __init__(self, stack: ExitStack, keyring: Keyring | None) -> None:
        self._stack = stack
        self._transport = stack.enter_context(Transport(keyring))

    def pull(self, endpoint="tcp://127.0.0.1:0"):
        return self._keep(self._transport.pull(endpoint))

    def push(self, endpoint, node=""):
        return self._keep(self._transport.push(endpoint, node))

    def _keep(self, channel):
        self._stack.callback(channel.close)
        return channel


@pytest.fixture
def node() -> Iterator[object]:
    """Return a function: a name, or None for a process without keys → its Node."""
    with ExitStack() as stack:

        def make(name: str | None, known: dict[str, str] = KNOWN) -> Node:
            keyring = name and Keyring(PUBLIC[name], SECRETS[name], lambda: known)
            return Node(stack, keyring)

        yield make


def received(channel, seconds: float = 3.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (message := channel.receive()) is not None:
            return message
        time.sleep(0.01)
    return None


def is_heard(push, pull) -> bool:
    """True if a message arrives; a sender that was never let in may not even queue one."""
    try:
        push.send(Beat("pi", 1))
    except Broken:
        return False
    return received(pull, 1.0) is not None


def test_nodes_that_know_each_other_talk(node):
    pull = node("head").pull()
    push = node("pi").push(pull.endpoint, "head")
    push.send(Beat("pi", 1))
    assert received(pull) == Beat("pi", 1)


def test_a_node_that_joins_later_is_let_in(node):
    known = dict(KNOWN)
    pull = node("head", known).pull()
    known["stranger"] = PUBLIC["stranger"]
    push = node("stranger", known).push(pull.endpoint, "head")
    push.send(Beat("stranger", 1))
    assert received(pull) == Beat("stranger", 1)


def test_a_stranger_is_not_heard(node):
    pull = node("head").pull()
    push = node("stranger").push(pull.endpoint, "head")
    assert not is_heard(push, pull)


def test_a_process_without_keys_is_not_heard(node):
    pull = node("head").pull()
    push = node(None).push(pull.endpoint)
    assert not is_heard(push, pull)


def test_an_impostor_of_the_head_hears_nothing(node):
    pull = node("stranger").pull()
    push = node("pi").push(pull.endpoint, "head")
    assert not is_heard(push, pull)


def test_nothing_listens_on_the_network_without_keys(node):
    for endpoint in ("tcp://0.0.0.0:0", "tcp://*:0", "tcp://192.0.2.1:7101"):
        with pytest.raises(BadInput, match="no keys"):
            node(None).pull(endpoint)
    channel = node("head").pull("tcp://0.0.0.0:0")
    assert channel.endpoint.startswith("tcp://0.0.0.0:")


def test_an_unknown_node_is_named(node):
    with pytest.raises(BadInput, match="no public key of node 'pi9'; known are head, pi"):
        node("head").push("tcp://127.0.0.1:7101", "pi9")


def test_a_damaged_secret_is_told():
    with pytest.raises(BadInput, match="40 characters"):
        public_of("not a key")


def test_who_sent_a_message_is_who_proved_it(node):
    pull = node("head").pull()
    node("pi").push(pull.endpoint, "head").send(Beat("head", 1))
    assert received(pull) == Beat("head", 1)
    assert pull.is_from("pi") and not pull.is_from("head") and not pull.is_from("stranger")


def test_where_nothing_is_proven_anybody_is_believed(node):
    pull = node(None).pull()
    node(None).push(pull.endpoint).send(Beat("pi", 1))
    assert received(pull) == Beat("pi", 1)
    assert pull.is_from("pi") and pull.is_from("head")


def test_who_proves_nothing_cannot_have_memory_allocated(node):
    """ZMTP 3.1's greeting for CURVE, then a command that announces 900 MiB."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
    pull = node("head").pull()
    port = int(pull.endpoint.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), 5) as stranger:
        stranger.sendall(greeting)
        assert stranger.recv(64, socket.MSG_WAITALL)
        stranger.sendall(b"\x06" + (900 << 20).to_bytes(8, "big"))
        with pytest.raises(OSError):
            for _ in range(MAX_STEP_BYTES >> 20):
                stranger.sendall(bytes(1 << 20))
    push = node("pi").push(pull.endpoint, "head")
    push.send(Beat("pi", 1))
    assert received(pull) == Beat("pi", 1)


def test_idle_connections_leave_the_process_the_descriptors_that_it_needs(node):
    node("head")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft >= min(MAX_FILES, hard if hard >= 0 else MAX_FILES)

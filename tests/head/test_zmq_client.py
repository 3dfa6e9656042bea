"""The door over ZeroMQ, with the test as the head."""

import socket
import threading
import time
from pathlib import Path

import pytest
from bramble import errors
from bramble.head.client import Pulse
from bramble.head.zmq_client import ZmqClient
from bramble.wire import messages as m
from bramble.wire.transport import Poll, Router, Transport

ASKED = m.Generate("r", m.Sampling(), prompt="Hello")
DONE = m.Done("r", m.Finish.STOP, 1, 1, 0.0, 0.0, 0.0)


class Watched(socket.socket):
    """Counts how often somebody looks whether its peer is still there."""

    looks = 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.looks += 1
        return super().recv(size, flags)


def answer(head: Router, silence_s: float) -> None:
    assert Poll([head]).wait(10)
    received = head.receive()
    assert received is not None
    head.send(received[0], m.Accepted("r", 1))
    time.sleep(silence_s)
    head.send(received[0], m.Delta("r", "Hi", (7,)))
    head.send(received[0], DONE)


def test_a_client_that_sends_more_before_its_answer_keeps_no_thread_busy(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with Transport() as transport, theirs, Watched(fileno=ours.detach()) as watch:
        door = f"ipc://{tmp_path}/door.sock"
        head = transport.router(door)
        thread = threading.Thread(target=answer, args=(head, 0.5))
        thread.start()
        theirs.sendall(b"GET / HTTP/1.1\r\n")  # the next request already
        events = list(ZmqClient(transport, door).generate(ASKED, watch))
        thread.join()
    said = [type(event) for event in events if not isinstance(event, Pulse)]
    assert said == [m.Accepted, m.Delta, m.Done]
    assert watch.looks < 20


def test_a_client_that_has_left_ends_its_request(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with Transport() as transport, ours:
        door = f"ipc://{tmp_path}/door.sock"
        head = transport.router(door)
        theirs.close()
        assert list(ZmqClient(transport, door).generate(ASKED, ours)) == []
        poll = Poll([head])
        kinds = []
        while len(kinds) < 2 and poll.wait(10):
            received = head.receive()
            assert received is not None
            kinds.append(type(received[1]))
    assert kinds == [m.Generate, m.Cancel]


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("ModelNotFound", errors.ModelNotFound),
        ("QueueFull", errors.QueueFull),
        ("PoisonRequest", errors.PoisonRequest),
        ("annotations", errors.Broken),  # a name in errors.py that is no class
        ("BrambleError", errors.Broken),
        ("SystemExit", errors.Broken),
    ],
)
def test_a_refusal_names_an_error_of_ours_or_is_our_fault(
    family: str, kind: type[errors.BrambleError], tmp_path: Path
) -> None:
    with Transport() as transport:
        door = f"ipc://{tmp_path}/door.sock"
        head = transport.router(door)
        events = ZmqClient(transport, door).generate(ASKED)

        def refuse() -> None:
            assert Poll([head]).wait(10)
            peer, _ = head.receive() or (b"", None)
            head.send(peer, m.Refused("r", family, "no", param="n"))

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(kind) as raised:
            next(events)
        thread.join()
    assert type(raised.value) is kind and str(raised.value) == "no"

"""What reads the bytes of the sockets between Bramble's processes, behind the frames' checks.

As in targets.py: whatever leaves a target is a find. A step or an answer that does not fit may fail
its epoch, a message of control may fail its ring; the process goes on.
"""

from __future__ import annotations

import atexit
import select
import socket
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import bramble
import numpy as np
from bramble.config import StageConfig
from bramble.errors import BadFrame, BadInput, Broken, CacheFull
from bramble.export.api import Options, export
from bramble.head.answer import fault
from bramble.head.desk import Desk, Model
from bramble.head.outcomes import Outcomes
from bramble.head.scheduler import Scheduler
from bramble.model import manifest as manifests
from bramble.model.tokenizer import Tokenizer
from bramble.stage.service import Service
from bramble.wire import frames
from bramble.wire import messages as m
from bramble.wire.transport import Channel, Keyring, Router, Transport, new_secret, public_of

from tests.fuzz.sealing import sealed
from tests.head.test_control import Head
from tests.head.test_desk import Client
from tests.head.test_fleet import StandIn, fleet
from tests.head.test_scheduler import limits, sequence
from tests.plan.test_planner import manifest
from tests.stage.ring import GOLDENS, Ring

CONTROL = (m.Hello, m.Beat, m.Ready, m.Failed)
CLIENT = (m.Generate, m.Generate, m.Cancel, m.Query)
TO_STAGE = (m.Assign, m.Assign, m.Beat)
EMBEDDED = Path(bramble.__file__).parent / "embedded"  # has a chat template
VOCABULARY, STAGES = 100, 2
SAMPLED = m.Sampled(  # beside a token: what the desk reads of it for logprobs
    plan_id=bytes(16),
    epoch=1,
    step=1,
    lane=0,
    kind=m.StepKind.DECODE,
    sequences=np.zeros(1, np.uint64),
    positions=np.zeros(1, np.int32),
    token_ids=np.zeros(1, np.int32),
    logprobs=np.zeros(1, np.float32),
    top_ids=np.zeros((1, 20), np.int32),
    top_logprobs=np.zeros((1, 20), np.float32),
    traces=np.zeros((0, 3), np.uint32),
    digests=np.zeros((0, 8), np.float32),
)
_OPENED = ExitStack()  # what targets keep open between two inputs
SIGNATURE = b"\xff" + bytes(7) + b"\x01\x7f"  # what ZMTP begins with, before its version
HELLO = b"\x04\xc8\x05HELLO\x01\x00" + bytes(192)  # the first command, with no key's numbers
GREETING = SIGNATURE + b"\x03\x01CURVE" + bytes(15) + bytes(32)


def close() -> None:
    """Close all that targets keep open; they open it again."""
    _OPENED.close()
    for cached in (_engines, _stage, _models, _bound):
        cached.cache_clear()


atexit.register(close)


def control(data: bytes) -> None:
    """The head's control socket: up to eight messages, a line each; the first byte says which."""
    head = Head(is_serving=data[:1] == b"1")
    for number, line in enumerate(data[1:].split(b"\n")[:8]):
        message = _message(line, CONTROL)
        plan = head.ring.plan
        if plan is not None and isinstance(message, m.Ready | m.Failed) and message.plan_id == "?":
            message = replace(message, plan_id=plan.plan_id.hex(), epoch=head.ring.epoch)
        if message is not None:
            head.hear(message, float(number))


def client(data: bytes) -> None:
    """The head's client socket, up to the steps and the text of the reply."""
    message = _message(data, CLIENT)
    if message is None:
        return
    other, (one, (ring,)) = Client(), fleet(1)
    desk = Desk(other, _model(), one, Outcomes(), lambda now: {})
    try:
        _ask(message, other, desk, ring)
    finally:
        desk.close()


def _ask(message: Any, other: Client, desk: Desk, ring: StandIn) -> None:
    other.asked.append((b"peer", message))
    desk.read(0.0)
    while desk._asked:
        select.select([desk.bell], [], [], 1.0)
        desk.read(0.0)
    desk.tick(1.5)
    for _ in range(6):
        ring.pump(2.0)
        while ring.stages.under_way:
            for emission in ring.scheduler.complete(*ring.stages.answer()):
                desk.emit(emission, SAMPLED, 2.0)
    other.asked.append((b"peer", m.Cancel(message.request)))
    desk.read(3.0)
    for event in other.heard:
        frames.unpack([bytes(frame) for frame in frames.pack(event)])
    assert not desk.has_replies and not ring.scheduler.waiting


@cache
def _model() -> Model:
    return Model(manifest(2), "sha", Tokenizer(EMBEDDED))


def answer(data: bytes) -> None:
    """The head's socket of answers: one to a step of two rows, or to guesses of one row."""
    try:
        sampled = frames.unpack(sealed(bytes([255, frames.KIND_OF[m.Sampled]]) + data[1:]))
    except BadFrame:
        return
    assert isinstance(sampled, m.Sampled)
    is_verify = data[:1] == b"1"
    scheduler = Scheduler(limits(num_stages=1, num_rows=2, is_guessing=is_verify))
    asked = [sequence([9] * 20, 60) for _ in range(1 if is_verify else 2)]
    asked[0].sampling = m.Sampling(top_logprobs=2)
    for each in asked:
        scheduler.add(each)
    for _ in range(9):
        for plan in scheduler.schedule():
            if plan.kind is sampled.kind and fault(plan, sampled, STAGES, VOCABULARY) is None:
                ids = sampled.token_ids.tolist()
                assert all(0 <= token_id < VOCABULARY for token_id in ids)
                scheduler.complete(plan.number, ids)
                return
            scheduler.complete(plan.number, [9] * len(plan.ids))


def step(data: bytes) -> None:
    """A stage's socket of steps: of the whole model, and of the half that takes hidden states."""
    try:
        message = frames.unpack(sealed(data[:1] + b"\x01" + data[1:]))
    except (BadFrame, IndexError):
        return
    assert isinstance(message, m.Step)
    for engine in _engines():
        engine.reset()
        with suppress(Broken, CacheFull):
            engine.run(message)


@cache
def _engines() -> list[Any]:
    return [*Ring(_models() / "llama3").engines, *Ring(_models() / "llama3", 2).engines[1:]]


def assign(data: bytes) -> None:
    """A stage's control socket: what the head tells it to run."""
    message = _message(data, TO_STAGE)
    stage = _stage()
    (head,) = stage._heads.all
    if isinstance(message, m.Assign):
        if message.manifest_sha256 == "?":
            sha256 = manifests.sha256(_models() / "llama3")
            message = replace(message, manifest_sha256=sha256)
        stage._take(head, message)
    elif isinstance(message, m.Beat):
        stage._heads._hear(head, message)


@cache
def _stage() -> Service:
    transport = Transport()
    _OPENED.callback(transport.close)
    folder = _models()
    config = StageConfig(
        "a", f"ipc://{folder}/head", listen=f"ipc://{folder}/steps", models=folder, threads=1
    )  # a pool of several would be the process's for good
    return Service(config, transport)


@cache
def _models() -> Path:
    """A folder of models with one in it, for as long as this process lives."""
    made = tempfile.TemporaryDirectory(prefix="fuzz-", dir="/dev/shm")
    folder = Path(_OPENED.enter_context(made))
    export(str(GOLDENS / "llama3"), folder / "llama3", Options(quantization="float32"))
    return folder


def greeting(data: bytes) -> None:
    """Both kinds of bound TCP sockets, before a sender has proven anything: bytes as they come.

    The first byte says which, and how much of a right greeting goes ahead.
    """
    choice = data[0] if data else 0
    bound = _bound()[choice & 1]
    sent = GREETING[: (choice >> 1) % (len(GREETING) + 1)] + data[1:]
    port = int(bound.endpoint.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as peer, suppress(OSError):
        peer.sendall(sent)  # it may hang up on us
        peer.settimeout(0.002)
        peer.recv(256)
    received = bound.receive() if isinstance(bound, Router) else bound.receive_frames()
    assert received is None, "something was read of a sender that has proven nothing"


@cache
def _bound() -> tuple[Channel, Router]:
    secret = new_secret()
    transport = Transport(Keyring(public_of(secret), secret, dict))
    _OPENED.callback(transport.close)
    return transport.pull("tcp://127.0.0.1:0"), transport.router("tcp://127.0.0.1:0")


def _message(data: bytes, kinds: tuple[type[Any], ...]) -> Any:
    """The message whose kind the first byte says, and whose body is the rest, or None."""
    if not data:
        return None
    kind = frames.KIND_OF[kinds[data[0] % len(kinds)]]
    with suppress(BadFrame, BadInput):
        return frames.unpack(sealed(bytes([255, kind]) + data[1:]))
    return None


TARGETS = {each.__name__: each for each in (control, client, answer, step, assign, greeting)}

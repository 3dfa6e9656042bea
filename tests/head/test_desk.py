"""The desk between a client and rings, both played by the test."""

import math
import time
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from bramble.head.desk import Desk, Model
from bramble.head.outcomes import Outcomes
from bramble.head.step_plan import Emission
from bramble.wire import messages as m

from tests.head.test_fleet import StandIn, fleet
from tests.plan.test_planner import manifest

EOS = 2  # of the planner's manifest
VOCABULARY = manifest(2).shape.vocab_size


class Client:
    """The other end of the desk's router."""

    def __init__(self) -> None:
        self.asked: deque[tuple[bytes, m.Message]] = deque()
        self.heard: list[m.Message] = []

    def receive(self) -> tuple[bytes, m.Message] | None:
        return self.asked.popleft() if self.asked else None

    def send(self, peer: bytes, message: m.Message) -> bool:
        self.heard.append(message)
        return True

    def ask(self, **members: Any) -> None:
        asked = m.Generate("r", **({"sampling": m.Sampling(), "prompt": [5, 6, 7]} | members))
        self.asked.append((b"client", asked))


def ids_of(text: str) -> list[int]:
    """Three tokens, and one more that was added to the tokenizer and never to the model."""
    return [5, 6, 7] + [VOCABULARY] * ("<pad>" in text)


TOKENIZER = SimpleNamespace(
    strips_space=False,
    scheme="ByteLevel",
    special_ids=frozenset(),
    token=lambda token_id: "ab",
    encode=lambda text: ids_of(text),
    render_chat=lambda messages: "".join(each["content"] for each in messages) + "<think>\n",
    encode_rendered=lambda text: ids_of(text),
)
CHAT = [{"role": "user", "content": "hi"}]


@pytest.fixture
def opened() -> Any:
    client = Client()
    one, rings = fleet(1)
    desk = Desk(client, Model(manifest(2), "sha", TOKENIZER), one, Outcomes(), lambda now: {})
    yield client, desk, rings[0]
    desk.close()


def read(desk: Desk, client: Client, now: float) -> None:
    """Let the desk read what was asked, and again until it is tokenized."""
    while not client.heard:
        desk.read(now)
        time.sleep(0.01)


def test_what_was_asked_before_the_first_plan_counts_its_wait(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, ring = opened
    ring.max_length = None
    for now in (100.0, 103.0):  # a client that hears nothing for 3 s asks again
        client.ask()
        desk.read(now)
    ring.max_length = 4096
    read(desk, client, 107.0)
    (request,) = desk._requests.values()
    assert request.arrived_at == 100.0


@pytest.mark.parametrize(
    ("members", "finish"),
    [
        ({"generated": (8, EOS)}, m.Finish.STOP),
        ({"generated": (8, 9), "max_tokens": 2}, m.Finish.LENGTH),
        ({"generated": (8, 9), "stop": ("ba",)}, m.Finish.STOP),
    ],
)
def test_a_reply_that_lacks_its_end_alone_gets_that_and_no_more_tokens(
    members: dict[str, Any], finish: m.Finish, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, ring = opened
    client.ask(**members)
    read(desk, client, 0.0)
    accepted, done = client.heard
    assert isinstance(accepted, m.Accepted) and isinstance(done, m.Done)
    assert (done.finish, done.completion_tokens) == (finish, 2)
    assert not desk.has_replies and not ring.scheduler.waiting


@pytest.mark.parametrize(
    ("members", "texts"),
    [
        ({"messages": CHAT}, ["<think>\nab", "ab", "ab"]),
        ({"messages": CHAT, "generated": (8,)}, ["ab", "ab", "ab"]),  # it has the first token
        ({"messages": CHAT, "stop": ("<think>", "ba")}, ["<think>\na", ""]),
        ({"prompt": "hi<think>\n"}, ["ab", "ab", "ab"]),
    ],
)
def test_a_thought_that_the_template_opened_begins_with_its_tag_once(
    members: dict[str, Any], texts: list[str], opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    client.ask(**({"prompt": None} | members))
    read(desk, client, 0.0)
    (request,) = desk._requests.values()
    for _ in texts:
        request.sequence.tokens.append(9)
        emission = Emission(request.sequence, 9, 0, len(request.sequence.tokens))
        desk.emit(emission, SimpleNamespace(), 1.0)
    deltas = [event for event in client.heard if isinstance(event, m.Delta)]
    assert [delta.text for delta in deltas] == texts
    assert all(delta.token_ids == (9,) for delta in deltas)


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"max_tokens": -5}, "max_tokens"),
        ({"sampling": m.Sampling(seed=-1)}, "seed"),
        ({"sampling": m.Sampling(seed=1 << 64)}, "seed"),
        ({"sampling": m.Sampling(temperature=math.nan)}, "temperature"),
        ({"sampling": m.Sampling(repetition_penalty=1e-300)}, "repetition_penalty"),
        ({"sampling": m.Sampling(logit_bias=((3, 1e300),))}, "logit_bias"),
        ({"sampling": m.Sampling(logit_bias=((3, math.nan),))}, "logit_bias"),
        ({"sampling": m.Sampling(logit_bias=((VOCABULARY, 1.0),))}, "logit_bias"),
        ({"generated": (8, -1)}, "generated"),
        ({"generated": (8, VOCABULARY)}, "generated"),
        ({"generated": (8, 1 << 40)}, "generated"),
        ({"prompt": [VOCABULARY]}, "prompt"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": [1 << 40]}, "prompt"),
        ({"prompt": "a <pad>"}, "prompt"),
        ({"prompt": None, "messages": [{"role": "user", "content": "a <pad>"}]}, "messages"),
    ],
)
def test_what_no_step_can_carry_is_refused_before_it_ends_the_head(
    members: dict[str, Any], param: str, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, ring = opened
    client.ask(**members)
    read(desk, client, 0.0)
    (refused,) = client.heard
    assert isinstance(refused, m.Refused)
    assert (refused.family, refused.param) == ("BadInput", param)
    assert not ring.scheduler.waiting


def test_text_with_a_token_that_the_model_has_not_is_refused_with_the_token(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, _ = opened
    client.ask(prompt="a <pad>")
    read(desk, client, 0.0)
    (refused,) = client.heard
    assert isinstance(refused, m.Refused)
    assert refused.message == (
        "prompt: the text holds 'ab', token id 128256, which the model does not know: its ids are "
        "0 … 128255; leave it out of the text"
    )


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, BaseException])
def test_text_over_which_the_tokenizer_fails_ends_its_request_and_not_the_head(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch, opened: tuple[Client, Desk, StandIn]
) -> None:
    def fail(text: str) -> list[int]:
        raise kind(text)

    client, desk, _ = opened
    monkeypatch.setattr(TOKENIZER, "encode", fail)
    client.ask(prompt="a secret")
    read(desk, client, 0.0)
    (refused,) = client.heard
    assert isinstance(refused, m.Refused)
    assert refused.family == "PoisonRequest" and "secret" not in refused.message
    monkeypatch.undo()
    client.heard.clear()
    client.ask(prompt="another")
    read(desk, client, 1.0)
    assert isinstance(client.heard[0], m.Accepted)


def test_progress_never_exceeds_the_prompt(opened: tuple[Client, Desk, StandIn]) -> None:
    client, desk, _ = opened
    client.ask()
    read(desk, client, 0.0)
    (request,) = desk._requests.values()
    request.sequence.num_prefilled = 9  # its prompt and, after a preemption, its reply so far
    desk.tick(2.0)
    assert client.heard[-1] == m.Progress("r", 1, 3, 3)

"""The desk between a client and rings, both played by the test."""

import math
import time
from collections import deque
from collections.abc import Iterator
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from bramble.head.desk import MAX_WAITING_BYTES, Desk, Model
from bramble.head.outcomes import Outcomes
from bramble.head.preparer import SHORT_BYTES
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
        self.has_left = False

    def receive(self) -> tuple[bytes, m.Message] | None:
        return self.asked.popleft() if self.asked else None

    def send(self, peer: bytes, message: m.Message) -> bool:
        if not self.has_left:
            self.heard.append(message)
        return not self.has_left

    def ask(self, name: str = "r", **members: Any) -> None:
        asked = m.Generate(name, **({"sampling": m.Sampling(), "prompt": [5, 6, 7]} | members))
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


def read(desk: Desk, client: Client, now: float, count: int = 1) -> None:
    """Let the desk read what was asked, and again until so many events have come."""
    while len(client.heard) < count:
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


class SlowTokenizer:
    """Waits over each long text until it may go on, and notes what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.may_go_on, self.is_busy = Event(), Event()
        self.texts: list[str] = []
        monkeypatch.setattr(TOKENIZER, "encode", self._encode)

    def _encode(self, text: str) -> list[int]:
        self.texts.append(text[-9:])
        if len(text) > SHORT_BYTES:
            self.is_busy.set()
            assert self.may_go_on.wait(20)
        return ids_of(text)


MEGABYTE = "long text " * 100_000


@pytest.fixture
def slow(opened: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowTokenizer]:
    """A tokenizer that is busy with a long prompt already."""
    client, desk, _ = opened
    slow = SlowTokenizer(monkeypatch)
    client.ask("busy", prompt=MEGABYTE)
    desk.read(0.0)
    assert slow.is_busy.wait(5)
    yield slow
    slow.may_go_on.set()


def test_twenty_prompts_of_a_megabyte_do_not_delay_a_short_one(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    for number in range(20):
        client.ask(f"long-{number}", prompt=MEGABYTE)
    client.ask("short", prompt="hi")
    read(desk, client, 1.0)
    assert [event.request for event in client.heard] == ["short"]
    assert isinstance(client.heard[0], m.Accepted)


def test_who_waits_for_the_tokenizer_hears_so_once_a_second(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    for tick in range(12):
        desk.tick(0.25 * tick)
    assert client.heard == [m.Progress("busy", 0, 0, 0)] * 2


def test_the_text_of_a_client_that_has_left_is_not_tokenized(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    for number in range(20):
        client.ask(f"left-{number}", prompt=MEGABYTE + "left")
    desk.read(0.0)
    client.has_left = True
    desk.tick(1.5)
    client.has_left = False
    client.ask("stays", prompt=MEGABYTE + "stays")
    desk.read(2.0)
    slow.may_go_on.set()
    read(desk, client, 2.0)
    assert [event.request for event in client.heard] == ["stays"]
    assert [text[-5:] for text in slow.texts] == ["text ", "stays"]


def test_the_text_of_a_request_that_is_cancelled_is_not_tokenized(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    client.ask("r", prompt=MEGABYTE + "r")
    client.asked.append((b"client", m.Cancel("r")))
    client.ask("next", prompt=MEGABYTE + "next")
    desk.read(0.0)
    slow.may_go_on.set()
    read(desk, client, 2.0, 2)
    assert {event.request for event in client.heard} == {"busy", "next"}
    assert len(slow.texts) == 2


def test_a_request_that_is_asked_again_while_it_waits_is_tokenized_once(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    for now in range(10):
        client.ask("again", prompt=MEGABYTE + str(now))
        desk.read(float(now))
    slow.may_go_on.set()
    read(desk, client, 9.0, 2)
    assert [text[-1] for text in slow.texts] == [" ", "9"]
    assert desk._requests["again"].arrived_at == 0.0


def test_a_refusal_of_what_was_asked_before_does_not_end_what_is_asked_now(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    client.asked.append((b"client", m.Cancel("busy")))
    client.ask("busy", prompt="short and good")  # while a long and bad one is under way
    slow.texts.clear()
    desk.read(0.0)
    slow.may_go_on.set()
    read(desk, client, 0.0)
    assert [type(event) for event in client.heard] == [m.Accepted]


def test_more_text_than_may_wait_is_refused_and_what_was_accepted_once_is_not(
    slow: SlowTokenizer, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    for number in range(MAX_WAITING_BYTES // len(MEGABYTE)):  # one too many, as "busy" waits too
        client.ask(f"r-{number}", prompt=MEGABYTE)
    client.ask("accepted before", prompt=MEGABYTE, export="sha")
    desk.read(0.0)
    (refused,) = client.heard
    assert isinstance(refused, m.Refused)
    assert (refused.family, refused.request) == ("QueueFull", f"r-{number}")
    assert "accepted before" in desk._asked


def test_a_prompt_that_is_longer_than_what_may_wait_is_read_while_nothing_else_waits(
    monkeypatch: pytest.MonkeyPatch, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    client.ask(prompt=MEGABYTE * 40)
    read(desk, client, 0.0)
    assert isinstance(client.heard[0], m.Accepted)


def test_messages_that_nest_deeply_end_their_request_and_not_the_head(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    content: Any = "deep"
    for _ in range(100_000):
        content = [content]
    client, desk, _ = opened
    client.ask(prompt=None, messages=[{"role": "user", "content": content}])
    read(desk, client, 0.0)
    assert isinstance(client.heard[0], m.Refused)


def test_progress_never_exceeds_the_prompt(opened: tuple[Client, Desk, StandIn]) -> None:
    client, desk, _ = opened
    client.ask()
    read(desk, client, 0.0)
    (request,) = desk._requests.values()
    request.sequence.num_prefilled = 9  # its prompt and, after a preemption, its reply so far
    desk.tick(2.0)
    assert client.heard[-1] == m.Progress("r", 1, 3, 3)

"""The desk between a client and rings, both played by the test."""

import math
import time
from collections import deque
from collections.abc import Iterator
from itertools import count
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
        self.gone: set[bytes] = set()

    def receive(self) -> tuple[bytes, m.Message] | None:
        return self.asked.popleft() if self.asked else None

    def send(self, peer: bytes, message: m.Message) -> bool:
        if peer in self.gone:
            return False
        self.heard.append(message)
        return True

    def take(self) -> list[m.Message]:
        """Return what was heard since."""
        heard, self.heard = self.heard, []
        return heard

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
    marker_ids=frozenset(),
    reply_format="",
    token=lambda token_id: "ab",
    token_bytes=lambda token_id: b"ab",
    encode=lambda text: ids_of(text),
    render_chat=lambda messages, chat: "".join(each["content"] for each in messages) + "<think>\n",
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
    read_until(desk, client, now, len(client.heard) + 1)


def read_until(desk: Desk, client: Client, now: float, num_heard: int = 1) -> None:
    """Let the desk read again and again, until so many events have come."""
    while len(client.heard) < num_heard:
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


def test_a_reply_says_which_stop_string_ended_it(opened: tuple[Client, Desk, StandIn]) -> None:
    client, desk, _ = opened
    client.ask(generated=(8, 9), stop=("no", "ba"))
    read(desk, client, 0.0)
    assert client.heard[-1].stop_string == "ba"


@pytest.mark.parametrize("num_tokens", [3, 5000])
def test_a_prompt_that_is_only_counted_may_be_too_long_and_leaves_nothing_behind(
    num_tokens: int, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, ring = opened
    client.ask(prompt=[5] * num_tokens, max_tokens=0, key="k")
    read_until(desk, client, 0.0, 2)
    accepted, done = client.take()
    assert isinstance(accepted, m.Accepted) and accepted.prompt_tokens == num_tokens
    assert isinstance(done, m.Done) and done.finish is m.Finish.LENGTH
    assert not desk.has_replies and not ring.scheduler.waiting
    client.asked.append((b"client", m.Resume("r")))
    read(desk, client, 1.0)
    (refused,) = client.heard
    assert isinstance(refused, m.Refused) and refused.family == "ReplyNotFound"


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
    thought = len(request.record) if request.asked.messages else 0
    assert request.done(2.0).thought_tokens == thought


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
    read_until(desk, client, 1.0)
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
    client.gone.add(b"client")
    desk.tick(1.5)
    client.gone.clear()
    desk.tick(1.5)
    desk.tick(60.0)
    client.ask("stays", prompt=MEGABYTE + "stays")
    desk.read(60.0)
    slow.may_go_on.set()
    read_until(desk, client, 60.0)
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
    read_until(desk, client, 2.0, 2)
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
    read_until(desk, client, 9.0, 2)
    assert [text[-1] for text in slow.texts] == [" ", "0"]
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
    read_until(desk, client, 0.0)
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
    read_until(desk, client, 0.0)
    assert isinstance(client.heard[0], m.Accepted)


def test_messages_that_nest_deeply_end_their_request_and_not_the_head(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    content: Any = "deep"
    for _ in range(100_000):
        content = [content]
    client, desk, _ = opened
    client.ask(prompt=None, messages=[{"role": "user", "content": content}])
    read_until(desk, client, 0.0)
    assert isinstance(client.heard[0], m.Refused)


def test_progress_never_exceeds_the_prompt(opened: tuple[Client, Desk, StandIn]) -> None:
    client, desk, _ = opened
    client.ask()
    read(desk, client, 0.0)
    (request,) = desk._requests.values()
    request.sequence.num_prefilled = 9  # its prompt and, after a preemption, its reply so far
    desk.tick(2.0)
    assert client.heard[-1] == m.Progress("r", 1, 3, 3)


def test_who_waits_for_the_first_plan_hears_that_the_head_lives(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, ring = opened
    ring.max_length = None
    client.ask()
    desk.read(100.0)
    desk.tick(101.0)
    assert client.heard == [m.Progress("r", 0, 0, 0)]


def test_a_place_in_the_queue_is_told_and_had_again(opened: tuple[Client, Desk, StandIn]) -> None:
    client, desk, ring = opened
    ring.scheduler.arrivals = count(1000)
    client.ask(accepted_at_us=77)
    read(desk, client, 0.0)
    model = desk._model
    assert client.heard == [m.Accepted("r", 3, "sha", 77, model.manifest.name, model.mark)]


def test_with_the_first_plan_who_was_accepted_before_comes_before_who_asked_sooner(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, ring = opened
    ring.scheduler.arrivals, ring.max_length = count(1000), None
    for name, accepted_at_us in (("new", 0), ("second", 20), ("first", 10)):
        client.ask(name=name, accepted_at_us=accepted_at_us)
        desk.read(0.0)
    ring.max_length = 4096
    while len(client.heard) < 3:
        read(desk, client, 1.0)
    assert [event.request for event in client.heard] == ["first", "second", "new"]


def say(desk: Desk, *token_ids: int) -> None:
    """Have the request's ring sample tokens."""
    (request,) = desk._requests.values()
    for token_id in token_ids:
        request.sequence.tokens.append(token_id)
        if token_id == EOS:
            request.sequence.finish = m.Finish.STOP
        emission = Emission(request.sequence, token_id, 0, len(request.sequence.tokens))
        desk.emit(emission, SimpleNamespace(), 1.0)


def told(messages: list[m.Message]) -> tuple[list[type], str, tuple[int, ...]]:
    """Return the kinds of messages, and the text and tokens of their deltas."""
    deltas = [each for each in messages if isinstance(each, m.Delta)]
    ids = tuple(i for each in deltas for i in each.token_ids)
    return [type(each) for each in messages], "".join(each.text for each in deltas), ids


def test_who_asks_again_by_name_is_told_all_that_was_said_and_what_comes(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, _ = opened
    client.ask(key="k", about={"kind": "chat"})
    read(desk, client, 0.0)
    say(desk, 8, 9)
    client.gone.add(b"client")  # its web process was killed
    say(desk, 10)
    client.take()
    client.asked.append((b"again", m.Resume("r", received=1)))
    desk.read(2.0)
    say(desk, 11, EOS)
    accepted, *rest = client.take()
    assert isinstance(accepted, m.Accepted) and accepted.asked is not None
    assert (accepted.asked.prompt, accepted.asked.about) == ([5, 6, 7], {"kind": "chat"})
    assert [each.token_ids for each in rest[:-1]] == [(8,), (9, 10), (11,), (EOS,)]
    assert told(rest)[1] == "abababab" and rest[-1].completion_tokens == 5


def test_a_reply_that_has_ended_can_be_had_again_without_its_prompt_and_is_counted_once(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, _ = opened
    client.ask()
    read(desk, client, 0.0)
    say(desk, 8, EOS)
    first = client.take()
    client.asked.append((b"later", m.Resume("r")))
    desk.read(300.0)
    again = client.take()
    assert told(again)[1:] == told(first)[1:] == ("ab", (8, EOS))
    assert again[0].asked.prompt is None
    assert (first[-1].is_repeat, again[-1].is_repeat) == (False, True)
    desk.tick(1000.0)
    client.asked.append((b"late", m.Resume("r")))
    desk.read(1000.0)
    (refused,) = client.take()
    assert refused.family == "ReplyNotFound"


@pytest.mark.parametrize(("key", "is_cancelled"), [("", True), ("k", False)])
def test_who_leaves_ends_the_request_but_where_its_client_can_come_back(
    key: str, is_cancelled: bool, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    client.ask(key=key)
    read(desk, client, 0.0)
    client.asked.append((b"client", m.Cancel("r")))
    desk.read(1.0)
    desk.tick(2.0)
    assert desk.has_replies is not is_cancelled
    desk.tick(121.0)
    assert desk.has_replies is not is_cancelled
    desk.tick(123.0)
    assert not desk.has_replies


def test_who_lost_the_web_is_waited_for_though_it_gave_no_key(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, _ = opened
    client.ask()
    read(desk, client, 0.0)
    client.gone.add(b"client")
    desk.tick(1.0)  # its progress cannot be delivered
    desk.tick(30.0)
    assert desk.has_replies
    desk.tick(32.0)
    assert not desk.has_replies


def test_a_request_of_several_readers_ends_for_all_if_one_says_so(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, _ = opened
    client.ask(key="k")
    read(desk, client, 0.0)
    client.asked.append((b"second", m.Resume("r")))
    client.asked.append((b"client", m.Cancel("r")))  # it leaves, the other one stays
    desk.read(0.0)
    assert desk.has_replies
    client.take()
    client.asked.append((b"third", m.Cancel("r", is_for_all=True)))
    client.asked.append((b"third", m.Cancel("r", is_for_all=True)))
    desk.read(0.0)
    done, first, second = client.take()
    assert (done.finish, first.was_known, second.was_known) == (m.Finish.CANCELLED, True, False)
    assert not desk.has_replies


def test_a_key_that_was_used_for_another_request_is_refused(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, _ = opened
    client.ask("one", key="k")
    read(desk, client, 0.0)
    client.take()
    client.ask("two", key="k")
    desk.read(0.0)
    (refused,) = client.take()
    assert refused.family == "KeyReused"


def test_after_a_lost_head_readers_of_one_request_are_told_what_each_lacks(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, _ = opened
    client.ask(key="k", messages=CHAT, prompt=None, generated=(8, 9))
    read(desk, client, 0.0)
    client.asked.append((b"new", m.Generate("r", m.Sampling(), messages=CHAT, key="k")))
    client.take()
    desk.read(0.0)
    assert told(client.take())[1:] == ("<think>\nabab", (8, 9))
    say(desk, 10)
    assert [each.token_ids for each in client.take()] == [(10,), (10,)]
    client.asked.append((b"x", m.Generate("r", m.Sampling(), generated=(8, 7), key="k")))
    desk.read(0.0)
    assert client.take()[0].family == "Unavailable"


@pytest.mark.parametrize("has_other_reader", [False, True])
def test_whose_log_probabilities_are_lost_is_answered_anew_where_its_key_gives_the_seed(
    has_other_reader: bool, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, _ = opened
    members = {"key": "k", "sampling": m.Sampling(top_logprobs=0)}
    client.ask(generated=(8, 9), **members)  # its first tokens were an earlier head's
    read(desk, client, 1.0)
    if not has_other_reader:  # its web process died
        desk._audiences["r"].leave(b"client")
    client.take()
    client.asked.append((b"later", m.Generate("r", prompt=[5, 6, 7], **members)))
    read(desk, client, 2.0)
    (request,) = desk._requests.values()
    if has_other_reader:
        (refused,) = client.take()
        assert isinstance(refused, m.Refused) and "went with a head" in refused.message
        assert request.sequence.num_completion_tokens == 2
    else:
        assert [type(each) for each in client.take()] == [m.Accepted]
        assert request.sequence.num_completion_tokens == 0


def test_what_a_client_did_not_choose_is_the_models_own(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, _ = opened
    desk._model.manifest.defaults.update(temperature=0.25, top_p=0.5)
    client.ask("own", sampling=m.Sampling(top_p=0.9), chosen=("top_p",))
    read(desk, client, 0.0)
    sampling = desk._requests["own"].sequence.sampling
    assert (sampling.temperature, sampling.top_p) == (0.25, 0.9)


def test_another_model_than_the_served_one_is_refused_by_the_head(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, _ = opened
    client.ask(model="other")
    read(desk, client, 0.0)
    assert client.heard[0].family == "ModelNotFound"


@pytest.mark.parametrize("is_early", [False, True], ids=["with a plan", "before the first plan"])
def test_what_was_accepted_once_waits_for_a_ring_that_has_failed(
    is_early: bool, opened: tuple[Client, Desk, StandIn]
) -> None:
    client, desk, ring = opened
    ring.is_serving, ring.has_failed = False, True
    if is_early:
        ring.max_length = None
    client.ask("new")
    client.ask("accepted before", export="sha", accepted_at_us=5)
    desk.read(0.0)
    desk.tick(0.3)
    refused = [event.request for event in client.heard if isinstance(event, m.Refused)]
    assert refused == ["new"]


def test_a_head_that_stands_by_says_who_may_know_a_reply(
    opened: tuple[Client, Desk, StandIn],
) -> None:
    client, desk, _ = opened
    desk._fleet.standing_by = "the head on b has the role (term 3), this one stands by"
    client.asked.append((b"client", m.Resume("r")))
    client.asked.append((b"client", m.Cancel("r", is_for_all=True)))
    desk.read(0.0)
    for event in client.heard:
        assert isinstance(event, m.Refused) and event.family == "Unavailable"
        assert "the head on b" in event.message
    assert len(client.heard) == 2
